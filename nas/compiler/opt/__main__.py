"""`python -m nas.compiler.opt folder/cmds.json folder/cmds-o.json`: naive commands to optimised ones."""

from pathlib import Path

from nas.compiler.command_line import run_stage, stage_parser
from nas.compiler.files import CompiledFiles
from nas.compiler.opt.pipeline import SWITCHES, check_switches, network_of_program, optimise
from nas.hw.load import find_processor
from nas.ir.schema import read_arrays, read_program, write_arrays, write_program

_PURPOSE = "Optimise cmds.json: fuse, choose dataflows and tiles, keep maps on chip, prefetch, allocate."


def main() -> None:
    """Parse the command line and run the stage."""
    parser = stage_parser("nas.compiler.opt", _PURPOSE)
    parser.add_argument("source", type=Path, help="cmds.json, with weights.safetensors beside it")
    parser.add_argument("target", type=Path, help="cmds-o.json; weights-o.safetensors goes beside it")
    parser.add_argument("--without", action="append", default=[], help=f"a pass to leave out: {', '.join(SWITCHES)}")
    given = parser.parse_args()

    def stage() -> str:
        switched_off = check_switches(given.without)
        naive = read_program(given.source)
        constants = read_arrays(CompiledFiles(given.source.parent).naive_weights)
        network = network_of_program(naive, constants, given.source)
        processor = find_processor(given.hardware or naive.processor)
        program, weights = optimise(network, processor, switched_off)
        write_arrays(CompiledFiles(given.target.parent).weights, dict(weights))
        write_program(given.target, program)
        return f"{given.target}: {len(naive.commands)} -> {len(program.commands)} commands"

    run_stage(stage)


if __name__ == "__main__":
    main()
