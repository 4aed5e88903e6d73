"""Programs <-> files: JSON for commands, safetensors for the bytes of constants and for ground truth.

A folder of one compiled network:
    cmds.json        weights.safetensors      the naive program (front_end)
    cmds-o.json      weights-o.safetensors    the optimised one (opt); its parallel form uses the same weights
    cmds-o-par.json                           the parallel one (parallel); over several cores it has weights of its own:
                     weights-o-par.safetensors
    gt.safetensors                            a seeded input and what PyTorch computes for it
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nas.core.artifact import read_json, write_json, write_with
from nas.core.errors import InputError
from nas.ir.par_program import ParProgram
from nas.ir.program import SCHEMA_VERSION, Program

Arrays = dict[str, NDArray[np.generic]]


def write_program(path: Path, program: Program) -> None:
    """Write `cmds.json` or `cmds-o.json`."""
    write_json(path, program, "program", SCHEMA_VERSION)


def read_program(path: Path) -> Program:
    """Read a sequential program; `InputError` names the file and the field that does not fit."""
    return read_json(path, Program, "program", SCHEMA_VERSION)


def write_par_program(path: Path, program: ParProgram) -> None:
    """Write `cmds-o-par.json`."""
    write_json(path, program, "par_program", SCHEMA_VERSION)


def read_par_program(path: Path) -> ParProgram:
    """Read a parallel program; `InputError` names the file and the field that does not fit."""
    return read_json(path, ParProgram, "par_program", SCHEMA_VERSION)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write named arrays as safetensors."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_with(path, lambda temporary: save_file(contiguous, temporary))


def read_arrays(path: Path) -> Arrays:
    """Read named arrays; a file that is no safetensors file is an `InputError`."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(path, "", "a safetensors file", str(error)) from error
    except (TypeError, AttributeError) as error:  # bfloat16 and the floats of 8 bits
        raise InputError(path, "", "arrays of types that numpy has", str(error)) from error
