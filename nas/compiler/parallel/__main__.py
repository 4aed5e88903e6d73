"""`python -m nas.compiler.parallel folder/cmds-o.json folder/cmds-o-par.json`: one list of commands to queues."""

from pathlib import Path

from nas.compiler.command_line import run_stage, stage_parser
from nas.compiler.parallel.pipeline import parallelise
from nas.ir.schema import read_program, write_par_program

_PURPOSE = "Spread cmds-o.json over the engines: a queue for each, and the tokens that keep every dependence."


def main() -> None:
    """Parse the command line and run the stage."""
    parser = stage_parser("nas.compiler.parallel", _PURPOSE)
    parser.add_argument("source", type=Path, help="cmds-o.json")
    parser.add_argument("target", type=Path, help="cmds-o-par.json")
    given = parser.parse_args()

    def stage() -> str:
        program = parallelise(read_program(given.source))
        write_par_program(given.target, program)
        tokens = sum(len(step.waits) for queue in program.queues.values() for step in queue)
        steps = ", ".join(f"{name} {len(queue)}" for name, queue in program.queues.items())
        return f"{given.target}: {steps}; {tokens} tokens"

    run_stage(stage)


if __name__ == "__main__":
    main()
