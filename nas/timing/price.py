"""One command -> everything that a simulator wants to know of it, counted in one go."""

from functools import lru_cache

import msgspec

from nas.core.errors import ContractError
from nas.hw.spec import Processor
from nas.ir.command import Command, Host, Load, Store
from nas.ir.tensor import Region
from nas.timing.cycles import compute_cycles, dma_latency_cycles, host_cycles, transfer_cycles
from nas.timing.energy import work_energy_pj
from nas.timing.traffic import command_traffic, command_work

_MOVES = (Load, Store)


class Price(msgspec.Struct, frozen=True, gc=False):
    """cycles: of the command alone on the processor. transfer_bytes: bytes that share the dram's bandwidth, at the end of
    the command (0 for all but loads and stores); energy_pj: without the static part.
    """

    cycles: int
    transfer_bytes: int
    dram_bytes: int
    sram_bytes: int
    macs: int
    energy_pj: float


def command_price(command: Command, processor: Processor) -> Price:
    """The price of `command`; agrees with `command_cycles`, `command_traffic`, `command_macs` and `command_energy_pj`.

    It hangs on no address and no name of a memory: a command on buffers that have none yet has it already.
    """
    try:
        return _known_price(
            Command(command.engine, "", _anywhere(command.reads), _anywhere(command.writes), command.attributes),
            processor,
        )
    except ContractError:
        return _price(command, processor)  # fails again, and says in which layer


def _anywhere(regions: tuple[Region, ...]) -> tuple[Region, ...]:
    return tuple([Region("", 0, each.shape, each.strides, each.bits) for each in regions])


def _price(command: Command, processor: Processor) -> Price:
    work, traffic = command_work(command), command_traffic(command)
    attributes, transfer_bytes = command.attributes, 0
    if isinstance(attributes, _MOVES):
        transfer_bytes = traffic.dram_bytes
        cycles = dma_latency_cycles(processor) + transfer_cycles(transfer_bytes, processor)
    elif type(attributes) is Host:
        cycles = host_cycles(work, processor)
    else:
        cycles = compute_cycles(command, processor, work, traffic.sram_bytes)
    energy_pj = work_energy_pj(command, processor, work, traffic)
    return Price(cycles, transfer_bytes, traffic.dram_bytes, traffic.sram_bytes, work.macs, energy_pj)


# Tiles of a layer differ in their addresses alone, and so do the layers of a search's next candidate.
_known_price = lru_cache(maxsize=1 << 14)(_price)
