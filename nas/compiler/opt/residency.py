"""Which buffers live on chip: all, if they fit; otherwise those go to dram that free most where the sram overflows.

Time is counted in operators here. At each operator the live buffers on chip and the operator's smallest tiles must fit.
"""

from dataclasses import dataclass

from nas.compiler.network import Network
from nas.compiler.opt.storage import Storage
from nas.compiler.opt.tile import comfortable_bytes, operands_of, smallest_bytes
from nas.compiler.regions import aligned
from nas.core.errors import DoesNotFit, Violation
from nas.hw.spec import Processor
from nas.ir.program import Concat, View


@dataclass(frozen=True)
class Residency:
    """on_chip: the buffers in sram; free_bytes: what is left at each operator for tiles and weights."""

    on_chip: frozenset[str]
    free_bytes: tuple[int, ...]


def decide_residency(network: Network, storage: Storage, processor: Processor, room_bytes: int) -> Residency:
    """Room is first looked for that lets every operator work well, then, where nothing is left to evict, for its
    smallest tiles. Raises `DoesNotFit` where these alone are over `room_bytes`.
    """
    touched = _touched(network, storage)
    spans = _spans(touched)
    on_chip = {name for name, buffer in storage.buffers.items() if not buffer.in_dram and name in spans}
    count, columns = len(network.operators), processor.matrix.columns
    live = [0] * count
    for name in on_chip:
        _add(live, spans[name], aligned(storage.buffers[name].size_bytes))
    operands = [operands_of(operator, network, storage) for operator in network.operators]
    needs = [0 if each is None else comfortable_bytes(each, frozenset(on_chip), columns) for each in operands]
    while True:
        over, index = max(((live[index] + needs[index] - room_bytes, -index) for index in range(count)), default=(0, 0))
        if over <= 0:
            return Residency(frozenset(on_chip), tuple(room_bytes - amount for amount in live))
        index = -index
        here = [name for name in on_chip if spans[name][0] <= index <= spans[name][1]]
        if not here:
            each = operands[index]
            least = 0 if each is None else smallest_bytes(each, frozenset(on_chip))
            if least > room_bytes:
                advice = "more SRAM, fewer channels or fewer bits"
                layer = network.operators[index].layer
                raise DoesNotFit(Violation("sram_bytes", layer, least, room_bytes, "bytes", advice))
            needs[index] = least
            continue
        # A buffer that the operator doesn't touch frees all its bytes here; among equals the larger goes.
        victim = max(here, key=lambda name: (name not in touched[index], storage.buffers[name].size_bytes, name))
        on_chip.discard(victim)
        _add(live, spans[victim], -aligned(storage.buffers[victim].size_bytes))
        for index, each in enumerate(operands):
            if each is not None and victim in touched[index]:
                needs[index] = comfortable_bytes(each, frozenset(on_chip), columns)


def _spans(touched: list[set[str]]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for index, names in enumerate(touched):
        for name in names:
            spans[name] = (spans.get(name, (index, index))[0], index)
    return spans


def _add(live: list[int], span: tuple[int, int], amount_bytes: int) -> None:
    for index in range(span[0], span[1] + 1):
        live[index] += amount_bytes


def _touched(network: Network, storage: Storage) -> list[set[str]]:
    """The buffers that each operator reads or writes; a view or concat touches only what it has to move."""
    touched = []
    for index, operator in enumerate(network.operators):
        if isinstance(operator.function, View | Concat):
            moves = storage.moves.get(index, [])
            touched.append({region.memory for move in moves for region in move})
        else:
            names = (*operator.inputs, *operator.outputs)
            touched.append({storage.regions[name].memory for name in names if name in storage.regions})
    return touched
