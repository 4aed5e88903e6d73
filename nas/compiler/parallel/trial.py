"""A sequential program on one core -> its parallel form, and how it ran.

Who places buffers tries a program out, who chooses between plans and who takes the chosen one asks for the same again. The
answer hangs on the commands alone: names and bindings are put on it here.
"""

from typing import NamedTuple

from msgspec.structs import replace

from nas.compiler.memo import Memo
from nas.compiler.parallel.pipeline import parallelise
from nas.hw.spec import Processor
from nas.ir.command import Command
from nas.ir.par_program import ParProgram
from nas.ir.program import Program
from nas.sim.parallel import simulate_parallel
from nas.sim.trace import Trace


class Trial(NamedTuple):
    """What came of a program."""

    parallel: ParProgram
    trace: Trace


def tried(program: Program, processor: Processor, memo: Memo) -> Trial:
    """Parallelise and simulate `program`, or remember it."""
    parallel, trace = memo.lately(commands_tried, program.commands, processor)
    named = replace(
        parallel,
        name=program.name,
        processor=program.processor,
        inputs=program.inputs,
        outputs=program.outputs,
        constants=program.constants,
        used_bytes=program.used_bytes,
    )
    return Trial(named, replace(trace, name=program.name))


def commands_tried(commands: tuple[Command, ...], processor: Processor) -> Trial:
    """The same of a program without a name."""
    parallel = parallelise(Program("", processor.name, "opt", (), (), (), (), (), commands, {}))
    return Trial(parallel, simulate_parallel(parallel, processor))
