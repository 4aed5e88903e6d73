"""The price of a network by compiling it, checking it, and simulating its parallel program."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from torch import nn

from nas.check.parallel import check_par_program
from nas.check.rule import raise_findings
from nas.compiler.inputs import InputShape
from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.spread import spread
from nas.compiler.precision import AS_IT_IS, Precision, network_to_price
from nas.core.errors import DoesNotFit, Violation
from nas.core.garbage import no_search_for_cycles
from nas.cost.model import Cost
from nas.hw.spec import Processor
from nas.ir.program import Program
from nas.sim.trace import Trace


@dataclass(frozen=True)
class SimulatedCost:
    """A `CostModel`: what `nas.sim.parallel` says of the compiled network on `processor`, in numbers of `precision`.

    memo: what was worked out for the networks before; models of several processors may share one.
    """

    processor: Processor
    name: str = "simulated"
    precision: Precision = AS_IT_IS
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)

    def cost(self, network: nn.Module, input_shape: InputShape) -> Cost | Violation:
        """Compile and simulate `network`; works on the meta device too, since a price needs no weights.

        Modules that are the same network to the compiler (other weights, another way of training) are compiled once.
        """
        lowered = network_to_price(network, input_shape, self.processor, self.precision.bits)
        with no_search_for_cycles():
            found = self.memo.under(_digest(lowered, self.processor), lambda: self._price(lowered))
        if isinstance(found, Violation):
            return found
        # What the compiler leaves out still has to be stored and trained.
        return msgspec.structs.replace(found, parameters=sum(each.numel() for each in network.parameters()))

    def _price(self, lowered: Network) -> Cost | Violation:
        try:
            program, constants = optimise(lowered, self.processor, memo=self.memo)
        except DoesNotFit as error:
            return error.violation
        parallel = spread(lowered, self.processor, (program, constants), memo=self.memo)
        # What the commands of one core do and read is asked where a program is kept (`compile_network`): it takes some tenth of the time.
        is_checked = not parallel.is_partitioned
        found = check_par_program(parallel.parallel, self.processor, parallel.sequence, is_checked)
        raise_findings(found, lowered.name)
        return cost_of(program, parallel.trace, 0, parallel.parallel.used_bytes)


def _digest(network: Network, processor: Processor) -> bytes:
    """The same for networks that are compiled alike for this processor; their constants have no bytes."""
    tensors = tuple(network.tensors.values())
    parts = (processor, network.name, network.operators, tensors, network.inputs, network.outputs)
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=32).digest()


def cost_of(program: Program, trace: Trace, parameters: int, used_bytes: Mapping[str, int]) -> Cost:
    """The cost that a trace of `program`, in a form that uses `used_bytes` of each memory, shows; of several cores' srams
    the fullest counts.
    """
    return Cost(
        latency_s=trace.latency_s,
        cycles=trace.cycles,
        energy_pj=trace.energy_pj,
        peak_sram_bytes=max(used for memory, used in used_bytes.items() if memory != "dram"),
        dram_bytes=trace.dram_bytes,
        parameters=parameters,
        parameter_bytes=sum(binding.region.payload_bytes for binding in program.constants),
        macs=trace.macs,
    )
