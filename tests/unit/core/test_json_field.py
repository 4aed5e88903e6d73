"""The field that an error names, against where the fault was put."""

import json
from typing import Any

import pytest

from nas.core.artifact import decode_json
from nas.core.errors import InputError
from nas.ir.command import Command, Conv, Load
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Program
from nas.ir.schema import write_par_program, write_program
from nas.ir.tensor import dense

HOME, HERE = dense("dram", 0, (2, 4, 4), 8), dense("sram", 0, (2, 4, 4), 8)
COMMANDS = (
    Command("dma_in", "conv", (HOME,), (HERE,), Load()),
    Command("matrix", "conv", (HERE, dense("sram", 64, (2, 2, 1, 1), 8)), (HERE,), Conv()),
)
PROGRAM = Program("p", "edge_npu", "opt", (), (), (), (), (), COMMANDS, {"dram": 100})
PAR = ParProgram(
    "p", "edge_npu", (), (), (), {"dma_in": (Step(COMMANDS[0]),), "matrix": (Step(COMMANDS[1], (3,)),)}, {}
)


def fault(tmp_path: Any, program: Program | ParProgram, way: list[Any], value: Any) -> InputError:
    is_par = isinstance(program, ParProgram)
    kind = "par_program" if is_par else "program"
    (write_par_program if is_par else write_program)(tmp_path / "p.json", program)
    document = json.loads((tmp_path / "p.json").read_text())
    place = document["value"]
    for step in way[:-1]:
        place = place[step]
    if value is None:
        del place[way[-1]]
    else:
        place[way[-1]] = value
    with pytest.raises(InputError) as caught:
        decode_json(json.dumps(document).encode(), type(program), kind, 1, "p.json")
    return caught.value


@pytest.mark.parametrize(
    ("way", "value", "field"),
    [
        (["commands", 1, "reads", 1, "strides"], "wide", "commands[1].reads[1].strides"),
        (["commands", 1, "reads", 0, "shape", 2], 1.5, "commands[1].reads[0].shape[2]"),
        (["commands", 0, "engine"], 3, "commands[0].engine"),
        (["commands", 1, "attributes", "groups"], [], "commands[1].attributes.groups"),
        (["commands", 1, "attributes", "window"], {"kernel": [3, "x"]}, "commands[1].attributes.window.kernel[1]"),
        (["commands", 1, "attributes", "op"], "fly", "commands[1].attributes.op"),
        (["used_bytes", "dram"], "all", "used_bytes[dram]"),
        (["commands"], 7, "commands"),
        (["name"], 7, "name"),
    ],
)
def test_the_place_of_the_fault_is_named(tmp_path: Any, way: list[Any], value: Any, field: str) -> None:
    assert fault(tmp_path, PROGRAM, way, value).field == field


def test_a_missing_field_is_named_with_its_place(tmp_path: Any) -> None:
    error = fault(tmp_path, PAR, ["queues", "matrix", 0, "command", "reads", 1, "bits"], None)
    assert str(error) == "p.json: queues[matrix][0].command.reads[1]: expected a field `bits`, got none"


def test_bytes_that_are_no_text_beside_the_fault_do_no_harm() -> None:
    data = b'{"kind": "par_program", "version": 1, "value": {"queues": {"a": [{"command": {"\xe3": 1}}]}, "name": 3}}'
    with pytest.raises(InputError, match=r"^p\.json"):
        decode_json(data, ParProgram, "par_program", 1, "p.json")
