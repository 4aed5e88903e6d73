"""What each operation of PyTorch's core does to channels: `RULES` by name, see `provenance`.

A rule labels the results and ties or keeps atoms; it answers False where it cannot tell, and then all channels that went in
must be kept. Rules work on the labels alone: no rule looks at the numbers of a network.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from operator import not_
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from nas.quota.channels.labels import Atoms, Ints
from nas.quota.channels.spread import along, short, size_along, varying

Labels = list[Tensor]  # atoms of the tensor's shape: none, one array, or for a weight two


class Call(NamedTuple):
    """One operation that was run: its function, what went in and what came out."""

    function: Any
    args: Sequence[Any]
    kwargs: dict[str, Any]
    result: Any

    @property
    def name(self) -> str:
        return str(self.function.overloadpacket.__name__)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors that went in."""
        return [item for item in tree_flatten((self.args, self.kwargs))[0] if isinstance(item, Tensor)]


class Trace(Protocol):
    """What the rules know of the run."""

    atoms: Atoms

    def of(self, tensor: Tensor) -> Labels: ...
    def set(self, tensor: Tensor, labels: Labels) -> None: ...
    def keep(self, tensor: Tensor, reason: str) -> None: ...
    def is_weight(self, tensor: Tensor) -> bool: ...
    def set_blank(self, tensor: Tensor) -> None: ...
    def is_blank(self, tensor: Tensor) -> bool: ...
    def write(self, numbers: Sequence[float], fixed: Sequence[int]) -> None: ...


Rule = Callable[[Trace, Call], bool]
RULES: dict[str, Rule] = {}
_UNTAGGED = frozenset(
    ["hardswish", "celu", "threshold", "prelu", "_prelu_kernel", "copy"]
)  # but pointwise all the same
READS_INPUT = "reads the network's input"
MIXED = "its consumer mixes channels and places"
NO_CHANNELS = "it meets what has no channels that could be cut"


def rule_of(call: Call) -> Rule | None:
    """The rule for an operation; in-place ones have that of their like."""
    name = call.name if call.name.startswith("_") else call.name.removesuffix("_")
    if name in RULES:
        return RULES[name]
    return pointwise if torch.Tag.pointwise in call.function.tags or name in _UNTAGGED else None


def _rule(names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names.split(), rule))
        return rule

    return add


@_rule("empty_like zeros_like ones_like full_like rand_like randn_like new_zeros new_empty new_full")
def make(trace: Trace, call: Call) -> bool:
    """Only the shape of what went in counts, if no other is given."""
    if call.name.endswith("_like"):
        trace.set_blank(call.result)
    return True


@_rule("clone _to_copy detach alias contiguous lift_fresh")
def same(trace: Trace, call: Call) -> bool:
    """The same elements."""
    trace.set(call.result, trace.of(call.args[0]))
    return True


@_rule("permute transpose t unsqueeze squeeze expand flip repeat")
def move(trace: Trace, call: Call) -> bool:
    """The same elements elsewhere."""
    moved = [call.function(labels, *call.args[1:], **call.kwargs) for labels in trace.of(call.args[0])]
    trace.set(call.result, moved)
    return True


@_rule("roll")
def roll(trace: Trace, call: Call) -> bool:
    """The same elements further on; along channels it would be as far, whatever lies between."""
    axes = call.args[2] if len(call.args) > 2 else call.kwargs.get("dims", ())
    rolled = {axis % call.args[0].dim() for axis in axes}
    if not rolled or any(rolled & set(varying(labels)) for labels in trace.of(call.args[0])):
        return False
    return move(trace, call)


@_rule("view _unsafe_view reshape _reshape_alias")
def reshape(trace: Trace, call: Call) -> bool:
    """The same elements in another shape. Channels seen as (parts, channels of a part) are cut alike in each part, of which there stay
    as many; parts may have parts.
    """
    reshaped = []
    for before in trace.of(call.args[0]):
        after = before.reshape(call.result.shape)
        parts = varying(after)[:-1] if _sizes(before) != _sizes(after) else []
        if parts:
            first, *others = after.movedim(parts, tuple(range(len(parts)))).flatten(0, len(parts) - 1)
            for other in others:
                trace.atoms.tie(short(first), short(other))
        trace.write(after.shape, parts)
        reshaped.append(after)
    trace.set(call.result, reshaped)
    return True


def _sizes(labels: Tensor) -> list[int]:
    """Along the axes where there are several channels."""
    return [labels.shape[axis] for axis in varying(labels)]


@_rule("slice select split split_with_sizes unbind")
def split(trace: Trace, call: Call) -> bool:
    """Parts. Channels split into so many equal parts are cut alike in each; other splits are written in sizes that would not change."""
    results = list(call.result) if isinstance(call.result, list | tuple) else [call.result]
    collected: list[Labels] = [[] for _ in results]
    for labels in trace.of(call.args[0]):
        found = call.function(labels, *call.args[1:], **call.kwargs)
        parts = list(found) if isinstance(found, list | tuple) else [found]
        divides = any(_sizes(part) != _sizes(labels) for part in parts)
        written = call.name == "split_with_sizes" or len(parts) == 1 or len({part.shape for part in parts}) > 1
        if divides and written:
            return False
        for part in parts[1:] if divides else ():
            trace.atoms.tie(short(parts[0]), short(part))
        for own, part in zip(collected, parts, strict=True):
            own.append(part)
    for tensor, own in zip(results, collected, strict=True):
        trace.set(tensor, own)
    return True


@_rule("cat stack")
def join(trace: Trace, call: Call) -> bool:
    """The channels of several maps, one after the other; those that are stacked are cut alike in each."""
    pieces = [trace.of(tensor) for tensor in call.args[0]]
    if any(len(labels) != 1 for labels in pieces):
        return False
    for piece in pieces[1:] if call.name == "stack" else ():
        trace.atoms.tie(short(pieces[0][0]), short(piece[0]))
    trace.set(call.result, [call.function([labels[0] for labels in pieces], *call.args[1:], **call.kwargs)])
    return True


def pointwise(trace: Trace, call: Call) -> bool:
    """Channels that meet are tied; one that meets many, as a gate of a whole map does, must stay, and so must those that meet what
    has as many of something else: an image, or zeros.
    """
    labelled = [tensor for tensor in call.tensors if trace.of(tensor) and tensor.dim()]
    others = [tensor for tensor in call.tensors if not trace.of(tensor) and not trace.is_blank(tensor)]
    of_each = _of_channels(trace, [trace.of(tensor) for tensor in labelled], call.result.shape)
    if len({len(labels) for labels in of_each}) > 1:
        return False
    kept: Labels = []
    for whole in zip(*of_each, strict=True):
        axes = {axis for labels in whole for axis in varying(labels)}
        full = []
        for labels, tensor in zip(whole, labelled, strict=True):
            if all(size_along(tensor, axis, call.result) == call.result.shape[axis] for axis in axes):
                full.append(labels)
            else:
                trace.atoms.keep(short(labels), "one channel acts on many")
        for labels in full[1:]:
            trace.atoms.tie(short(full[0], axes), short(labels, axes))
        if any(size_along(tensor, axis, call.result) > 1 for tensor in others for axis in axes):
            for labels in full:
                trace.atoms.keep(short(labels), NO_CHANNELS)
        kept.append(full[0] if full else whole[0])
    numbers = [item for item in tree_flatten((call.args, call.kwargs))[0] if isinstance(item, int | float)]
    trace.write(numbers, range(len(numbers)))
    trace.set(call.result, kept)
    return True


def _of_channels(trace: Trace, of_each: Sequence[Labels], shape: Sequence[int]) -> list[Labels]:
    """The labels of each in the result's shape; where some are a map's, those of parameters along its other axes (1, or places) stay
    whole and are left out.
    """
    spread = [[each.expand(*shape) for each in labels] for labels in of_each]
    fewest = min(map(len, spread), default=0)
    channels = {axis for labels in spread if len(labels) == fewest for each in labels for axis in varying(each)}
    found = []
    for labels in spread:
        is_own = [len(labels) == fewest or not channels.isdisjoint(varying(each)) for each in labels]
        found.append(list(compress(labels, is_own)))
        if sum(is_own) == fewest:
            for each in compress(labels, map(not_, is_own)):
                trace.atoms.keep(short(each), NO_CHANNELS)
    return found


@_rule("max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d")
@_rule("upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d")
@_rule("constant_pad_nd reflection_pad2d replication_pad2d")
def within_channels(trace: Trace, call: Call) -> bool:
    """Each map of the result comes from one map that went in."""
    x, output = call.args[0], call.result[0] if isinstance(call.result, tuple) else call.result
    labels = trace.of(x)
    if len(labels) != 1 or not set(varying(labels[0])) <= {1} or output.shape[:2] != x.shape[:2]:
        return False
    trace.set(output, [along(short(labels[0], {1}).ravel(), 1, output.shape)])
    return True


@_rule("mean sum amax amin max min")
def reduce(trace: Trace, call: Call) -> bool:
    """A sum over places, or a scale of a whole weight, as quantisers have."""
    x = call.args[0]
    if isinstance(call.result, Tensor) and not call.result.dim() and trace.is_weight(x):
        return True
    axes = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim")
    labels = trace.of(x)
    if axes is None or len(labels) != 1 or not isinstance(call.result, Tensor):
        return False
    reduced = {axis % x.dim() for axis in ([axes] if isinstance(axes, int) else axes)}
    if reduced & set(varying(labels[0])):
        return False
    rest = labels[0]
    for axis in sorted(reduced, reverse=True):
        rest = rest.select(axis, 0)
    trace.set(call.result, [rest.reshape(call.result.shape)])
    return True


@_rule("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm")
def normalise(trace: Trace, call: Call) -> bool:
    """Each channel has its entry of the scales, shifts and statistics."""
    labels = trace.of(call.args[0])
    if len(labels) != 1 or not set(varying(labels[0])) <= {1}:
        return False
    channels = short(labels[0], {1}).ravel()
    for other in call.args[1:5]:
        for atoms in trace.of(other) if isinstance(other, Tensor) else ():
            trace.atoms.tie(channels, short(atoms, {0}).ravel())
    trace.set(call.result[0], labels)
    return True


@_rule("addmm mm")
def multiply(trace: Trace, call: Call) -> bool:
    """A linear layer: x @ weight, whose inputs are read and whose outputs begin."""
    bias, x, weight = call.args[:3] if len(call.args) > 2 else (None, *call.args[:2])
    if len(trace.of(weight)) != 2:
        return False
    outputs, inputs = trace.of(weight)
    if 0 in varying(
        outputs
    ):  # the rows of a weight are its outputs, and columns once it is transposed, as it mostly is
        outputs, inputs = inputs, outputs
    reads = short(inputs, {0}).ravel()
    given = trace.of(x)
    if given and set(varying(given[0])) <= {1}:
        trace.atoms.tie(short(given[0], {1}).ravel(), reads)
    else:
        trace.keep(x, MIXED)
        trace.atoms.keep(reads, READS_INPUT)
    return _begin(trace, bias, short(outputs, {1}).ravel(), call.result)


@_rule("convolution")
def convolve(trace: Trace, call: Call) -> bool:
    """Reads its input's channels by the weight's columns and begins its rows; groups are cut alike, depthwise with their input."""
    x, weight, bias, transposed, groups = *call.args[:3], call.args[6], call.args[8]
    own = trace.of(weight)
    if transposed or not own:
        return False
    if len(own) == 2 and (
        1 in varying(own[0]) or 0 in varying(own[1])
    ):  # a weight that was turned, as in a tied decoder
        own = own[::-1]
    rows = short(own[0], {0}).ravel()
    columns = short(own[1], {1}).ravel() if len(own) == 2 else None
    given = trace.of(x)
    if not given or not set(varying(given[0])) <= {1}:
        trace.keep(x, MIXED)
        if columns is not None:
            trace.atoms.keep(columns, READS_INPUT)
        if groups > 1:
            trace.atoms.keep(rows, READS_INPUT)
        return _begin(trace, bias, rows, call.result)
    channels = short(given[0], {1}).ravel()
    if weight.shape[1] == 1 and groups > 1:
        trace.atoms.tie(rows, channels.repeat(len(rows) // groups))
    elif columns is None:
        trace.atoms.keep(channels, "the only input of a layer")
    else:
        trace.atoms.tie(channels.reshape(groups, -1), columns[None].repeat(groups, 0))
        by_group = rows.reshape(groups, -1)
        trace.atoms.tie(by_group, by_group[:1].repeat(groups, 0))
    return _begin(trace, bias, rows, call.result)


def _begin(trace: Trace, bias: Tensor | None, outputs: Ints, result: Tensor) -> bool:
    for atoms in trace.of(bias) if bias is not None else ():
        trace.atoms.tie(short(atoms).ravel(), outputs)
    trace.set(result, [along(outputs, 1, result.shape)])
    return True
