"""nn.Module -> the three programs of a network, checked, with the bytes of their constants and the ground truth.

This is the way of `scripts/compile.py` and of the cost model. The stages are functions of their own for everybody else:
`front_end.lower.network_of`, `front_end.naive.naive_program`, `opt.pipeline.optimise`, `parallel.spread.spread`.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from nas.check.parallel import check_par_program
from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.files import Arrays, CompiledFiles
from nas.compiler.front_end.ground_truth import ground_truth
from nas.compiler.front_end.naive import naive_program
from nas.compiler.inputs import InputShape, shapes_of
from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.draft import Planned
from nas.compiler.opt.ladder import quickest_rung
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.spread import Spread, spread
from nas.compiler.parts.fit import cut_to_fit
from nas.compiler.precision import AS_IT_IS, Precision, network_in
from nas.core.errors import DoesNotFit, Violation
from nas.hw.spec import Processor
from nas.ir.par_program import ParProgram
from nas.ir.program import Program
from nas.ir.schema import write_arrays, write_par_program, write_program


@dataclass(frozen=True)
class Compiled:
    """One network on one processor, in all three forms; `truth` is empty where there are no weights to compute it with.

    spread: the parallel form, over all cores, and how it came about; the two sequential forms are programs of one core.
    switched_off, ladder: what `compile_network` was asked for, so that the like of it can be compiled the same way.
    """

    processor: Processor
    naive: Program
    optimised: Program
    spread: Spread
    naive_constants: Arrays
    constants: Arrays
    truth: Arrays
    switched_off: frozenset[str] = frozenset()
    ladder: bool = False

    @property
    def parallel(self) -> ParProgram:
        return self.spread.parallel

    @property
    def parallel_constants(self) -> Arrays:
        """The bytes of the parallel program's constants; those of the sequential one where one core does it all."""
        return self.spread.constants

    def write(self, folder: Path) -> None:
        """All the files of a compiled network; see `nas.ir.schema`."""
        files = CompiledFiles(folder)
        write_arrays(files.naive_weights, self.naive_constants)
        write_arrays(files.weights, self.constants)
        if self.spread.is_partitioned:
            write_arrays(files.parallel_weights, self.parallel_constants)
        else:
            files.parallel_weights.unlink(missing_ok=True)  # of an earlier network in this folder
        if self.truth:
            write_arrays(files.truth, self.truth)
        write_program(files.naive, self.naive)
        write_program(files.optimised, self.optimised)
        write_par_program(files.parallel, self.parallel)


def compile_network(
    module: nn.Module,
    input_shape: InputShape,
    processor: Processor,
    switched_off: frozenset[str] = frozenset(),
    seed: int = 0,
    precision: Precision = AS_IT_IS,
    ladder: bool = False,
) -> Compiled | Violation:
    """Compile `module` for an input of `input_shape` (batch first), or inputs of several, and check every program.

    switched_off: names of passes to leave out (see `nas.compiler.opt.pipeline`). seed: of the ground truth's input, which
    is always the module's own answer, whatever `precision` makes of it. ladder: plan for smaller srams, too, and take the
    quickest program (see `nas.compiler.opt.ladder`).
    Returns a `Violation` where the network does not fit the processor. Raises InputError for a module that cannot be
    compiled, and ContractError where a checker finds a program at fault.
    """
    network = network_in(module, input_shape, processor, precision)
    try:
        cut = cut_to_fit(network, processor)
        naive = naive_program(cut, processor)
        (optimised, constants), parallel = programs_of(network, processor, switched_off, ladder)
    except DoesNotFit as error:
        return error.violation
    raise_findings(check_program(naive, processor), f"{naive.name}, cmds.json")
    raise_findings(check_program(optimised, processor), f"{naive.name}, cmds-o.json")
    # The commands of a partition are none of the program that was checked just now.
    found = check_par_program(parallel.parallel, processor, parallel.sequence, not parallel.is_partitioned)
    raise_findings(found, f"{naive.name}, cmds-o-par.json")
    known = all(parameter.device.type != "meta" for parameter in module.parameters())
    shapes = dict(zip(network.inputs, shapes_of(input_shape), strict=True))
    truth = ground_truth(module, shapes, network.outputs, seed) if known else {}
    arrays = dict(cut.constants), constants, dict(truth)
    return Compiled(processor, naive, optimised, parallel, *arrays, switched_off, ladder)


def programs_of(
    network: Network, processor: Processor, switched_off: frozenset[str], ladder: bool
) -> tuple[Planned, Spread]:
    """What one core would do, and what all do, unchecked; arguments as of `compile_network`. Raises `DoesNotFit`."""
    memo, plan = Memo(), quickest_rung if ladder else optimise
    one_core = plan(network, processor, switched_off, memo)
    return one_core, spread(network, processor, one_core, switched_off, memo)
