"""One command -> picojoules, by counting events and looking each up in the processor's table of energies.

Dynamic energy belongs to commands, static energy to time: the first is here for each command, the second for a whole run.
"""

from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Host, Load, Matmul, Store
from nas.timing.matrix import passes
from nas.timing.traffic import Traffic, Work, command_traffic, command_work

_PJ_PER_J = 1e12
_MOVES = (Load, Store)
_PRODUCTS = (Conv, Matmul)


def command_energy_pj(command: Command, processor: Processor) -> float:
    """The dynamic energy of `command`."""
    return work_energy_pj(command, processor, command_work(command), command_traffic(command))


def work_energy_pj(command: Command, processor: Processor, work: Work, traffic: Traffic) -> float:
    """`command_energy_pj` of a command whose work and traffic are known already."""
    energies, attributes = processor.energies, command.attributes
    moved_pj = traffic.sram_bytes * energies.sram_byte_pj + traffic.dram_bytes * energies.dram_byte_pj
    if isinstance(attributes, _MOVES):
        return moved_pj
    if type(attributes) is Host:
        return moved_pj + work.operations * energies.host_pj
    if command.engine == "matrix" and isinstance(attributes, _PRODUCTS):
        # mac_pj is of one product of cell_bits operands; the tail behind the array is vector work.
        slices, per_cycle = passes(attributes.weight, attributes.input, processor.matrix)
        return moved_pj + work.macs * slices / per_cycle * energies.mac_pj + work.outputs * energies.vector_pj
    return moved_pj + work.operations * energies.vector_pj


def static_energy_pj(cycles: int, processor: Processor) -> float:
    """The energy that `cycles` of being switched on take: all cores are, whether they work or not."""
    return processor.cores * processor.energies.static_w * cycles / processor.clock_hz * _PJ_PER_J
