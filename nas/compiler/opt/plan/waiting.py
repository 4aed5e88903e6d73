"""Which maps that have room on chip had better pass in stripes: where somebody waits, and could work meanwhile.

Whoever makes a map may wait for the dram, and the next one for the whole map; or the engines work in turn, one of them on the
map of the other, and could work side by side. These are estimates: whether it pays, the simulation of both plans tells.
"""

from itertools import pairwise

from nas.compiler.memo import Memo
from nas.compiler.network import constant_bytes
from nas.compiler.opt.engines.share import Pace, shared_cycles
from nas.compiler.opt.layout.operands import Layout, Operands
from nas.compiler.opt.plan.stripes import moved_cycles, work_cycles
from nas.compiler.tiling import Part, engine_of
from nas.hw.spec import Processor
from nas.timing.cycles import transfer_cycles

# Of the time, what working side by side has to save.
_WORTH = 0.04


def waiting_maps(
    layout: Layout, on_chip: frozenset[str], moved_bytes: int, processor: Processor, memo: Memo
) -> list[frozenset[str]]:
    """The maps of the buffers `on_chip` that somebody waits for: one who waits for the dram, or any. moved_bytes: of maps that go to
    the dram and back.

    Nobody looks for more where the dram sets the pace of all, and no room would be won.
    """
    waiting = _Waiting(layout, on_chip, processor, memo)
    if waiting.work_cycles > transfer_cycles(moved_bytes + constant_bytes(layout.network), processor):
        for_the_dram = waiting.for_the_dram()
        return list(dict.fromkeys((for_the_dram, for_the_dram | waiting.in_turn())))
    return [waiting.for_the_dram()] if moved_bytes else []


class _Waiting:
    """work_cycles: of all operators, each done by both engines together."""

    def __init__(self, layout: Layout, on_chip: frozenset[str], processor: Processor, memo: Memo) -> None:
        self._layout, self._on_chip, self._processor, self._memo = layout, on_chip, processor, memo
        self._by_both = [
            0 if each is None else len(each.operands.images) * memo.of(_by_both_cycles, each.operands, processor)
            for each in layout.placed
        ]
        self.work_cycles = sum(self._by_both)

    def for_the_dram(self) -> frozenset[str]:
        """What is made by operators that take longer to load what they read than to work on it."""
        return frozenset(
            operator.outputs[0]
            for operator, placed in zip(self._layout.network.operators, self._layout.placed, strict=True)
            if placed is not None
            and operator.outputs[0] in self._on_chip
            and moved_cycles([placed], None, self._on_chip, self._processor)
            > work_cycles(placed, self._processor, self._memo)
        )

    def in_turn(self) -> frozenset[str]:
        """What one engine makes and the other one reads next, if a good part of the time were saved if both worked side by side."""
        saved: dict[str, int] = {}
        handed_on = self._on_chip & self._layout.links
        for index, (maker, reader) in enumerate(pairwise(self._layout.placed)):
            name = self._layout.network.operators[index].outputs[0]
            if maker is None or reader is None or name not in handed_on:
                continue
            if engine_of(maker.operands.function) != engine_of(reader.operands.function):
                longer = max(work_cycles(each, self._processor, self._memo) for each in (maker, reader))
                cycles = self._by_both[index] + self._by_both[index + 1] - longer
                if cycles > 0:
                    saved[name] = cycles
        return frozenset(saved) if sum(saved.values()) > _WORTH * self.work_cycles else frozenset()


def _by_both_cycles(operands: Operands, processor: Processor) -> int:
    """The cycles of one image's operator if both engines do a part of it."""
    reads, write = operands.images[0]
    return shared_cycles(Part(operands.function, reads, write), Pace(), operands.array, processor)
