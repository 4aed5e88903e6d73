"""A network -> its quickest program among plans for this sram and for every half, quarter and so on of it: more is never slower.

Planning is greedy, so that a plan for a larger sram may be slower than one for a smaller. A program for a smaller sram is a
legal one for a larger, and takes the same time there. So whoever keeps the quickest of all rungs is never slower with twice
the sram: its rungs are those of before, and one more. It takes as many times as long as there are rungs that fit.
"""

import msgspec

from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import optimise
from nas.compiler.opt.quickest import Planned, quickest
from nas.core.errors import DoesNotFit
from nas.hw.spec import Processor


def quickest_rung(
    network: Network, processor: Processor, switched_off: frozenset[str] = frozenset(), memo: Memo | None = None
) -> Planned:
    """The program that simulates fastest, the first of equals from the whole sram down. Raises `DoesNotFit` as `optimise`."""
    memo = Memo() if memo is None else memo
    planned = [optimise(network, processor, switched_off, memo)]
    rung = processor
    while rung.sram.size_bytes > 1:
        size_bytes = rung.sram.size_bytes // 2
        rung = msgspec.structs.replace(rung, sram=msgspec.structs.replace(rung.sram, size_bytes=size_bytes))
        try:
            planned.append(optimise(network, rung, switched_off, memo))
        except DoesNotFit:
            break
    return quickest(planned, processor, memo)
