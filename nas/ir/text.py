"""Programs <-> assembly that people read and write: one line each for a binding, a tensor, an operator or a command.

    program svhn_net
    processor edge_npu
    stage opt
    used {dram=4096 sram=800}
    input x dram[0x0: 1x3x40x40 @8] {bits=8 kind=code scale=0.1 levels=255}
    operator conv1 conv [x, conv1.weight] -> [conv1] {window={kernel=[3, 3]}}
    [0] dma_in load conv1 dram[0x100: 4x4x3x3 @8] -> sram[0x0: 4x4x3x3 @8]
    [4] matrix conv conv1 sram[0xc0: 4x5x8 @8], sram[0x0: 4x4x3x3 @8] -> sram[0x200: 4x4x8 @8] {window={...}}

The parallel form starts with `par_program`, has a line `queue matrix` (of core 1: `queue matrix1`) before the steps of each queue, and the tokens of a
step at its end: `; wait [0, 2] signal [4]`. The number of a command is for the reader; empty lines and lines that start
with # count for nothing. Reading back gives an equal program. See `nas.ir.notation` for words, numbers and groups.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from nas.core.errors import InputError, invalid, suggestion
from nas.ir.command import OPS, Command
from nas.ir.notation import NotationError, Plain, Reader, name_text, plain_text, region_text
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Binding, Operator, Program
from nas.ir.tensor import Format, Region, Tensor

Struct = TypeVar("Struct", bound=msgspec.Struct)
_BINDINGS = {"input": "inputs", "output": "outputs", "constant": "constants"}


def program_to_text(program: Program | ParProgram) -> str:
    """The assembly of a program of either form."""
    is_parallel = isinstance(program, ParProgram)
    lines = [f"{'par_program' if is_parallel else 'program'} {name_text(program.name)}"]
    lines.append(f"processor {name_text(program.processor)}")
    if isinstance(program, Program):
        lines.append(f"stage {program.stage}")
    lines.append(f"used {plain_text(program.used_bytes)}")
    for word, field in _BINDINGS.items():
        for binding in getattr(program, field):
            place = region_text(binding.region)
            lines.append(f"{word} {name_text(binding.name)} {place}{_group(binding.format)}")
    if isinstance(program, ParProgram):
        for queue, steps in program.queues.items():
            lines.append(f"queue {name_text(queue)}")
            lines += [_command(index, step.command) + _tokens(step) for index, step in enumerate(steps)]
    else:
        lines += [f"tensor {name_text(tensor.name)}{_group(tensor, 'name')}" for tensor in program.tensors]
        lines += [_operator(operator) for operator in program.operators]
        lines += [_command(index, command) for index, command in enumerate(program.commands)]
    return "\n".join(lines) + "\n"


def program_from_text(text: str, where: object = "assembly") -> Program | ParProgram:
    """The program that `text` says. Raises InputError with the number of the line; `where` names the text's origin."""
    reading = _Reading(where)
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                reading.line(Reader(line))
            except NotationError as error:
                expected, _, got = str(error).removeprefix("expected ").partition(", got ")
                raise InputError(where, f"line {number}", expected, got or "something else") from error
            except msgspec.ValidationError as error:
                raise invalid(f"{where}: line {number}", error) from error
    return reading.program()


def _group(struct: msgspec.Struct, *left_out: str) -> str:
    """The fields of a struct that are not as usual, in braces; nothing if all are."""
    fields = {key: value for key, value in msgspec.to_builtins(struct).items() if key not in ("op", *left_out)}
    return f" {plain_text(fields)}" if fields else ""


def _operator(operator: Operator) -> str:
    ends = f"{plain_text(operator.inputs)} -> {plain_text(operator.outputs)}"
    op = operator.function.__struct_config__.tag
    return f"operator {name_text(operator.layer)} {op} {ends}{_group(operator.function)}"


def _command(index: int, command: Command) -> str:
    reads, writes = (", ".join(map(region_text, regions)) for regions in (command.reads, command.writes))
    name = f"{name_text(command.engine)} {command.op} {name_text(command.layer)}"
    return " ".join(part for part in (f"[{index}] {name}", reads, "->", writes) if part) + _group(command.attributes)


def _tokens(step: Step) -> str:
    parts = (("wait", step.waits), ("signal", step.signals))
    words = " ".join(f"{word} {plain_text(tokens)}" for word, tokens in parts if tokens)
    return f" ; {words}" if words else ""


class _Reading:
    """A program that is being read; every line adds to it."""

    def __init__(self, where: object) -> None:
        self._where = where
        self._kind = ""
        self._head: dict[str, Any] = {}
        self._lists: dict[str, list[Any]] = {
            field: [] for field in (*_BINDINGS.values(), "tensors", "operators", "commands")
        }
        self._queues: dict[str, list[Step]] = {}
        self._queue: list[Step] | None = None

    def line(self, reader: Reader) -> None:
        if reader.takes("["):
            reader.integer()
            reader.expect("]")
            self._step(reader)
        else:
            self._declaration(reader.name(), reader)
        reader.finish()

    def program(self) -> Program | ParProgram:
        """What was read, once all lines are."""
        if not self._kind:
            raise InputError(self._where, "", "a line `program NAME` or `par_program NAME`", "none")
        fields = {**self._head, **{field: tuple(items) for field, items in self._lists.items()}}
        for field in ("processor", "used_bytes", *(("stage",) if self._kind == "program" else ())):
            if field not in self._head:
                raise InputError(self._where, field.removesuffix("_bytes"), "a line of this name", "none")
        if self._kind == "program":
            return Program(**fields)
        for field in ("tensors", "operators", "commands"):
            if fields.pop(field):
                raise InputError(self._where, field, "none in a parallel program", "some")
        return ParProgram(**fields, queues={name: tuple(steps) for name, steps in self._queues.items()})

    def _declaration(self, word: str, reader: Reader) -> None:
        if word in ("program", "par_program"):
            self._kind = self._once("program", word)
            self._once("name", reader.name())
            del self._head["program"]
        elif word == "processor":
            self._once("processor", reader.name())
        elif word == "stage":
            self._once("stage", msgspec.convert(reader.name(), _type_of(Program, "stage")))
        elif word == "used":
            self._once("used_bytes", msgspec.convert(reader.mapping(), dict[str, int]))
        elif word in _BINDINGS:
            name, region = reader.name(), reader.region()
            self._lists[_BINDINGS[word]].append(Binding(name, region, msgspec.convert(_fields(reader), Format)))
        elif word == "tensor":
            name = reader.name()
            self._lists["tensors"].append(msgspec.convert({**_fields(reader), "name": name}, Tensor))
        elif word == "operator":
            self._lists["operators"].append(_read_operator(reader))
        elif word == "queue":
            self._queue = self._queues[self._new_queue(reader.name())] = []
        else:
            known = ("program", "par_program", "processor", "stage", "used", *_BINDINGS, "tensor", "operator", "queue")
            raise NotationError(f"expected a known first word, got {word!r}: {suggestion(word, known)}")

    def _once(self, field: str, value: Any) -> Any:
        if field in self._head:
            raise NotationError(f"expected one line for the {field}, got another")
        self._head[field] = value
        return value

    def _new_queue(self, name: str) -> str:
        if name in self._queues:
            raise NotationError(f"expected every queue once, got {name!r} again")
        return name

    def _step(self, reader: Reader) -> None:
        command = _read_command(reader)
        if self._kind != "par_program":
            self._lists["commands"].append(command)
            return
        if self._queue is None:
            raise NotationError("expected a line `queue NAME` before the first command, got none")
        tokens: dict[str, tuple[int, ...]] = {}
        has_tokens = reader.takes(";")
        while has_tokens and not reader.at_end():
            word = reader.name()
            if word not in ("wait", "signal") or word in tokens:
                raise NotationError(f"expected wait and signal once each, got {word!r}")
            tokens[word] = msgspec.convert(reader.plain(), tuple[int, ...])
        self._queue.append(Step(command, tokens.get("wait", ()), tokens.get("signal", ())))


def _read_command(reader: Reader) -> Command:
    engine, op, layer = reader.name(), reader.name(), reader.name()
    if op not in OPS:
        raise NotationError(f"expected an op, got {op!r}: {suggestion(op, OPS)}")
    reads = () if reader.sees("->") else _regions(reader)
    reader.expect("->")
    ends = reader.at_end() or reader.sees("{") or reader.sees(";")
    writes = () if ends else _regions(reader)
    return Command(engine, layer, reads, writes, msgspec.convert({"op": op, **_fields(reader)}, OPS[op]))


def _read_operator(reader: Reader) -> Operator:
    layer, op = reader.name(), reader.name()
    inputs = msgspec.convert(reader.plain(), tuple[str, ...])
    reader.expect("->")
    outputs = msgspec.convert(reader.plain(), tuple[str, ...])
    function = msgspec.convert({"op": op, **_fields(reader)}, _type_of(Operator, "function"))
    return Operator(layer, function, inputs, outputs)


def _fields(reader: Reader) -> dict[str, Plain]:
    return reader.mapping() if reader.sees("{") else {}


def _regions(reader: Reader) -> tuple[Region, ...]:
    regions = [reader.region()]
    while reader.takes(","):
        regions.append(reader.region())
    return tuple(regions)


def _type_of(struct: type[msgspec.Struct], field: str) -> Any:
    fields: Sequence[msgspec.structs.FieldInfo] = msgspec.structs.fields(struct)
    return next(each.type for each in fields if each.name == field)
