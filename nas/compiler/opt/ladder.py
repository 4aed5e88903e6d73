"""A network -> its quickest program among plans for this sram and for smaller ones, the rungs: more is never slower.

Planning is greedy, so that a plan for a larger sram may be slower than one for a smaller. A program for a smaller sram is a
legal one for a larger, and takes the same time there. So whoever keeps the quickest of all rungs is never slower than with any
of them. The rungs are every half, quarter and so on of the sram, and all smaller sizes of 2^n and 3 * 2^n bytes: between two such
sizes, and with twice the sram whatever its size, more is never slower. It takes as many times as long as there are rungs; the last is the
first that takes `_HOPELESS` times as long as the quickest, since programs grow long on small chips and none below was ever of use.
"""

import msgspec

from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.draft import Planned
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.trial import tried
from nas.core.errors import DoesNotFit
from nas.hw.spec import Processor

_HOPELESS = 1.25


def quickest_rung(
    network: Network, processor: Processor, switched_off: frozenset[str] = frozenset(), memo: Memo | None = None
) -> Planned:
    """The program that simulates fastest, the first of equals from the whole sram down. Raises `DoesNotFit` as `optimise`."""
    memo = Memo() if memo is None else memo
    quickest: Planned | None = None
    fewest_cycles = 0
    for size_bytes in rungs(processor.sram.size_bytes):
        rung = msgspec.structs.replace(processor, sram=msgspec.structs.replace(processor.sram, size_bytes=size_bytes))
        try:
            planned = optimise(network, rung, switched_off, memo)
        except DoesNotFit:
            if quickest is None:
                raise
            break
        cycles = tried(planned[0], processor, memo).trace.cycles
        if quickest is not None and cycles > _HOPELESS * fewest_cycles:
            break
        if quickest is None or cycles < fewest_cycles:
            quickest, fewest_cycles = planned, cycles
    assert quickest is not None, "the whole sram is a rung"
    return quickest


def rungs(size_bytes: int) -> list[int]:
    """The sizes to plan for, from `size_bytes` down."""
    halves = {size_bytes >> times for times in range(size_bytes.bit_length())}
    round_sizes = {odd << times for odd in (1, 3) for times in range(size_bytes.bit_length())}
    return sorted(halves | {size for size in round_sizes if size < size_bytes}, reverse=True)
