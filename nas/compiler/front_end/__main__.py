"""`python -m nas.compiler.front_end models:build --arch arch.json --shape 1x3x32x32 folder`: a module to cmds.json."""

import argparse
import re
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from nas.compiler.command_line import run_stage, stage_parser
from nas.compiler.files import CompiledFiles
from nas.compiler.front_end.ground_truth import ground_truth
from nas.compiler.front_end.lower import network_of
from nas.compiler.front_end.naive import naive_program
from nas.compiler.front_end.own_module import own_module
from nas.compiler.parts.fit import cut_to_fit
from nas.core.errors import InputError
from nas.hw.load import find_processor
from nas.ir.schema import write_arrays, write_program

_PURPOSE = "Compile an nn.Module to naive commands: cmds.json, weights.safetensors and gt.safetensors."


def main() -> None:
    """Parse the command line and run the stage."""
    parser = stage_parser("nas.compiler.front_end", _PURPOSE)
    parser.add_argument("builder", help="package.module:callable that returns the nn.Module, such as models:build")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--arch", type=Path, help="a JSON file; its object is the callable's one argument")
    parser.add_argument("--weights", type=Path, help="a safetensors file with the module's state_dict")
    parser.add_argument(
        "--shape",
        type=_shape,
        required=True,
        action="append",
        help="of the input, batch first: 1x3x32x32; one for each argument of a forward that takes several",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the ground truth's input, and of weights not given")
    given = parser.parse_args()

    def stage() -> str:
        torch.manual_seed(given.seed)  # the command's own process: weights that nobody gave are seeded ones
        module = _module(given.builder, given.arch, given.weights)
        processor = find_processor(given.hardware or "edge_npu")
        network = cut_to_fit(network_of(module, tuple(given.shape)), processor)
        program = naive_program(network, processor)
        files = CompiledFiles(given.folder)
        write_arrays(files.naive_weights, dict(network.constants))
        shapes = dict(zip(network.inputs, given.shape, strict=True))
        write_arrays(files.truth, dict(ground_truth(module, shapes, network.outputs, given.seed)))
        write_program(files.naive, program)
        return f"{files.naive}: {len(network.operators)} operators, {len(program.commands)} commands"

    run_stage(stage)


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9][0-9]{0,11}(x[1-9][0-9]{0,11})+", text):
        raise argparse.ArgumentTypeError(f"expected sizes such as 1x3x32x32, got {text[:80]!r}")
    return tuple(int(size) for size in text.split("x"))


def _described(arch: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        return msgspec.json.decode(arch.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(arch, "", "a file with a JSON object", str(error)) from error


def _module(builder: str, arch: Path | None, weights: Path | None) -> nn.Module:
    module = own_module(builder, _described(arch), source=arch) if arch else own_module(builder)
    if weights:
        try:
            module.load_state_dict(load_file(weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise InputError(weights, "", "the state_dict of this network", " ".join(str(error).split())) from error
    return module


if __name__ == "__main__":
    main()
