"""Any file at all, read as a program: an error that names the place, findings, or a program that runs. Nothing else, ever."""

import json
import resource
from collections import Counter
from typing import Any

import numpy as np
import pytest

import models
from nas.check.parallel import check_par_program
from nas.check.sequential import check_program
from nas.compiler.driver import Compiled, compile_network
from nas.core.artifact import decode_json
from nas.core.errors import InputError
from nas.hw.load import find_processor
from nas.ir.par_program import ParProgram
from nas.ir.program import SCHEMA_VERSION, Program
from nas.ir.schema import write_par_program, write_program
from nas.ir.text import program_from_text, program_to_text
from nas.sim.parallel import simulate_parallel
from nas.sim.sequential import simulate
from tests.fuzz.hostile import Tree, damaged, mutated_text

PROCESSOR = find_processor("micro_npu")
_KINDS = ("program", "par_program", "program", "par_program", "text", "program", "par_program", "par_text")
MOST_GROWTH_KIB = 512 * 1024


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small network's programs as files, and as assembly."""
    arch = models.arch_from(
        {
            "model": "searchable",
            "image_size_px": 8,
            "stem_width": 4,
            "stages": [{"block": "conv", "depth": 1, "width": 4, "weight_bits": 2, "activation_bits": 4}],
        }
    )
    compiled = compile_network(models.build(arch, 0), (1, 3, 8, 8), PROCESSOR)
    assert isinstance(compiled, Compiled)
    folder = tmp_path_factory.mktemp("programs")
    write_program(folder / "program.json", compiled.optimised)
    write_par_program(folder / "par_program.json", compiled.parallel)
    return {
        "program": (folder / "program.json").read_bytes(),
        "par_program": (folder / "par_program.json").read_bytes(),
        "text": program_to_text(compiled.optimised).encode(),
        "par_text": program_to_text(compiled.parallel).encode(),
    }


def outcome(kind: str, data: bytes | str) -> str:
    """What becomes of a file: "error", "findings" or "runs"; any other exception goes on to pytest."""
    try:
        if isinstance(data, str):
            program = program_from_text(data, "fuzz.txt")
        elif kind == "program":
            program = decode_json(data, Program, "program", SCHEMA_VERSION, "fuzz.json")
        else:
            program = decode_json(data, ParProgram, "par_program", SCHEMA_VERSION, "fuzz.json")
    except InputError as error:
        assert str(error).startswith("fuzz.")
        assert len(str(error)) < 5000
        return "error"
    if isinstance(program, Program):
        if check_program(program, PROCESSOR):
            return "findings"
        simulate(program, PROCESSOR)
    else:
        if check_par_program(program, PROCESSOR):
            return "findings"
        simulate_parallel(program, PROCESSOR)
    return "runs"


def fuzz(files: dict[str, bytes], inputs: int, seed: int) -> Counter[str]:
    """The outcomes of `inputs` mutants; three quarters of them are JSON."""
    generator = np.random.default_rng(seed)
    trees = {kind: Tree(files[kind]) for kind in ("program", "par_program")}
    outcomes: Counter[str] = Counter()
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(inputs):
        kind = _KINDS[number % len(_KINDS)]
        data: bytes | str
        if kind.endswith("text"):
            data = mutated_text(files[kind].decode(), generator)
        elif generator.integers(3) == 0:
            data = damaged(files[kind], generator)
        else:
            data = trees[kind].mutated(generator)
        outcomes[outcome(kind, data)] += 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < MOST_GROWTH_KIB
    return outcomes


def test_the_files_themselves_run(files: dict[str, bytes]) -> None:
    for kind, data in files.items():
        assert outcome(kind, data.decode() if kind.endswith("text") else data) == "runs"


def test_two_thousand_mutants(files: dict[str, bytes]) -> None:
    outcomes = fuzz(files, 2_000, 0)
    assert min(outcomes[name] for name in ("error", "findings", "runs")) > 50, "all three ways are taken"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_mutants(files: dict[str, bytes]) -> None:
    fuzz(files, 100_000, 1)


def test_truncated_everywhere(files: dict[str, bytes]) -> None:
    for length in range(0, len(files["program"]) - 2, 97):
        assert outcome("program", files["program"][:length]) == "error"


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b"1" * 1_000_000,
        b'"' + b"\\u0000" * 300_000 + b'"',
        b"[" + b"0," * 1_000_000 + b"0]",
        b"{}",
        b"null",
        b"\xff\xfe",
    ],
    ids=["lists", "objects", "digits", "string", "items", "empty", "null", "not text"],
)
@pytest.mark.parametrize("where", ["file", "value", "commands", "offset_bytes"])
def test_hostile_amounts(files: dict[str, bytes], hostile: bytes, where: str) -> None:
    document = json.loads(files["program"])
    if where == "value":
        document["value"] = "HERE"
    elif where == "commands":
        document["value"]["commands"] = "HERE"
    else:
        document["value"]["commands"][3]["reads"][0]["offset_bytes"] = "HERE"
    data = hostile if where == "file" else json.dumps(document).encode().replace(b'"HERE"', hostile)
    assert outcome("program", data) == "error"


@pytest.mark.parametrize("number", [-1, 2**31, 2**62, 2**63, 2**64, 10**18, 10**40])
def test_every_number_may_be_beyond_all_sense(files: dict[str, bytes], number: int) -> None:
    document = json.loads(files["program"])
    program = document["value"]
    places: list[tuple[Any, Any]] = [(program["used_bytes"], "dram"), (program["used_bytes"], "sram")]
    for region in (program["inputs"][0]["region"], *program["commands"][4]["reads"], *program["commands"][4]["writes"]):
        places.append((region, "offset_bytes"))
        places += [(region[axes], axis) for axes in ("shape", "strides") for axis in range(len(region[axes]))]
    for place, key in places:
        before, place[key] = place[key], number
        became = outcome("program", json.dumps(document).encode())
        assert became in ("error", "findings") or 0 < number < 2**48, "a stride of an axis of size 1 does no harm"
        place[key] = before


def test_strides_of_nothing_make_no_work(files: dict[str, bytes]) -> None:
    """A read may hold one element ever so often; nobody may write it out."""
    document = json.loads(files["program"])
    for command in document["value"]["commands"]:
        for region in command["reads"]:
            region["shape"] = [1 << 15] * 3
            region["strides"] = [0, 0, 0]
    assert outcome("program", json.dumps(document).encode()) == "findings"


def test_errors_name_command_and_field(files: dict[str, bytes]) -> None:
    document = json.loads(files["program"])
    document["value"]["commands"][2]["reads"][0]["strides"] = "wide"
    with pytest.raises(
        InputError, match=r"^fuzz\.json: commands\[2\]\.reads\[0\]\.strides: expected `array`, got `str`"
    ):
        decode_json(json.dumps(document).encode(), Program, "program", SCHEMA_VERSION, "fuzz.json")
