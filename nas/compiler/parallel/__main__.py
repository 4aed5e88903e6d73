"""`python -m nas.compiler.parallel folder/cmds-o.json folder/cmds-o-par.json`: one list of commands to queues.

For a processor of several cores the network is partitioned from its operators, which are in cmds.json of the same folder.
"""

from pathlib import Path

import numpy as np

from nas.check.rule import refuse_findings
from nas.check.sequential import check_commands, check_program
from nas.compiler.command_line import run_stage, stage_parser
from nas.compiler.files import CompiledFiles
from nas.compiler.opt.pipeline import network_of_program
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.parallel.spread import Spread, spread
from nas.core.errors import InputError
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.program import Program
from nas.ir.schema import read_arrays, read_program, write_arrays, write_par_program

_PURPOSE = "Spread cmds-o.json over the cores and their engines: a queue for each, and the least tokens."


def main() -> None:
    """Parse the command line and run the stage."""
    parser = stage_parser("nas.compiler.parallel", _PURPOSE)
    parser.add_argument("source", type=Path, help="cmds-o.json")
    parser.add_argument("target", type=Path, help="cmds-o-par.json")
    given = parser.parse_args()

    def stage() -> str:
        optimised = read_program(given.source)
        processor = _processor(given.hardware, optimised)
        found = check_commands(optimised) if processor is None else check_program(optimised, processor)
        refuse_findings(found, given.source)
        if processor is None or processor.cores == 1:
            program = parallelise(optimised)
        else:
            spread_out = _spread(optimised, processor, CompiledFiles(given.source.parent))
            program = spread_out.parallel
            if spread_out.is_partitioned:
                write_arrays(CompiledFiles(given.target.parent).parallel_weights, spread_out.constants)
        write_par_program(given.target, program)
        tokens = sum(len(step.waits) for queue in program.queues.values() for step in queue)
        steps = ", ".join(f"{name} {len(queue)}" for name, queue in program.queues.items())
        return f"{given.target}: {steps}; {tokens} tokens"

    run_stage(stage)


def _processor(hardware: str, program: Program) -> Processor | None:
    """The processor that is given, or else the program's own; None where that one is in no file, and then it has one core."""
    try:
        return find_processor(hardware or program.processor)
    except InputError:
        if hardware:
            raise
        return None


def _spread(optimised: Program, processor: Processor, files: CompiledFiles) -> Spread:
    network = network_of_program(read_program(files.naive), read_arrays(files.naive_weights), files.naive)
    weights = {name: array.astype(np.uint8, copy=False) for name, array in read_arrays(files.weights).items()}
    return spread(network, processor, (optimised, weights))


if __name__ == "__main__":
    main()
