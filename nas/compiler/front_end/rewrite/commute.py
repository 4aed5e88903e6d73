"""A trace in which an activation follows a max pool -> the same with the activation first, where a convolution can take it in.

max(f(a), f(b)) = f(max(a, b)) for every f that never falls, in floating point, too. `relu(max_pool(conv(x)))` is as common as
the other order; but a tail activates before it pools, so that as written it takes a command more, and int8 spends half of its
codes on what the activation throws away.
"""

from collections import Counter
from dataclasses import replace

import torch.nn.functional as F

from nas.compiler.front_end.lowerings.layers import CONVOLUTIONS
from nas.compiler.front_end.lowerings.pointwise import BATCH_NORMS, HARD_TANHS, RELUS
from nas.compiler.front_end.lowerings.pooling import MAX_POOLS
from nas.compiler.front_end.tracing.calls import Call, Quantise, TracedForward, Value

_NEVER_FALL = {*RELUS, F.relu6, *HARD_TANHS}  # and quantisers
_TAKE_IN = {*CONVOLUTIONS, *BATCH_NORMS}


def activations_first(forward: TracedForward) -> TracedForward:
    """The same values, bit for bit."""
    calls = list(forward.calls)
    makers = {value.index: place for place, call in enumerate(calls) for value in call.outputs}
    uses = Counter(value.index for call in calls for value in call.read)
    uses.update(value.index for value in forward.outputs)

    def only_maker(value: Value | None) -> int | None:
        """The place of the call that makes `value` for one reader alone."""
        return None if value is None or uses[value.index] > 1 else makers.get(value.index)

    for place, call in enumerate(calls):
        if not (isinstance(call.function, Quantise) or call.function in _NEVER_FALL):
            continue
        between = only_maker(_first(call))
        if between is None or calls[between].function not in MAX_POOLS or len(calls[between].outputs) > 1:
            continue
        pool, whole = calls[between], _first(calls[between])
        source = only_maker(whole)
        if source is None or whole is None or calls[source].function not in _TAKE_IN:
            continue
        # Under the number of the pooled map: int8 takes the range from there, and what lies below it never wins a pool.
        activated = replace(call.outputs[0], shape=whole.shape)
        calls[between] = replace(call, arguments=(whole, *call.arguments[1:]), outputs=(activated,))
        calls[place] = replace(pool, arguments=(activated, *pool.arguments[1:]), outputs=call.outputs)
    return replace(forward, calls=tuple(calls))


def _first(call: Call) -> Value | None:
    return call.arguments[0] if call.arguments and isinstance(call.arguments[0], Value) else None
