"""Rules about the numbers of one command: formats that exist and that match the elements, sums, activations, host calls."""

import json
import math
from functools import lru_cache

from nas.check.memory import repeats
from nas.ir.command import Command, Conv, Copy, Eltwise, Host, Load, Matmul, Pool, Store
from nas.ir.tensor import ELEMENT_BITS, Format, Region

_FLOAT_BITS = (16, 32)
_LARGEST = 1 << 31  # so that multiplier * code + offset stays within 64 bits
_LARGEST_SUM = 1 << 63


def written_once(command: Command) -> str:
    """No region that is written holds an element twice."""
    for region in command.writes:
        if repeats(region.shape, region.strides):
            return f"a written region holds an element more than once: shape {region.shape}, strides {region.strides}"
    return ""


def formats(command: Command) -> str:
    """Every format is one that `nas.ir.tensor` defines."""
    for name, form, _ in _pairs(command):
        wrong = format_breach(form)
        if wrong:
            return f"{name}: {wrong}"
    attributes = command.attributes
    if isinstance(attributes, Conv | Matmul | Eltwise | Pool):
        output = attributes.output if isinstance(attributes, Pool) else attributes.tail.output
        if output.is_code and output.multiplier != 1:
            return f"output: only codes of multiplier 1 can be written, got {output.multiplier}"
        if isinstance(attributes, Pool) and attributes.kind == "max" and output != attributes.input:
            return f"a maximum keeps its codes: expected output {attributes.input}, got {output}"
    return ""


def format_breach(form: Format) -> str:
    """What is wrong with a format, or ""."""
    if not form.is_code:
        return "" if form.bits in _FLOAT_BITS else f"floats have {_FLOAT_BITS} bits, got {form.bits}"
    if not (math.isfinite(form.scale) and form.scale > 0):
        return f"expected a finite scale above 0, got {form.scale}"
    if not 1 <= form.multiplier <= _LARGEST or abs(form.offset) > _LARGEST:
        return f"expected a multiplier from 1 and an offset, up to {_LARGEST}, got {form.multiplier} and {form.offset}"
    if form.bits == 32:
        return "" if form.levels == 0 else f"signed 32-bit codes have levels 0, got {form.levels}"
    if form.bits not in ELEMENT_BITS:
        return f"codes have {ELEMENT_BITS} bits, got {form.bits}"
    most = (1 << form.bits) - 1
    return "" if 1 <= form.levels <= most else f"codes of {form.bits} bits have levels 1..{most}, got {form.levels}"


def format_bits(command: Command) -> str:
    """The elements of a region are as wide as its format says; moving keeps the width."""
    for name, form, region in _pairs(command):
        if form.bits != region.bits:
            return f"{name}: format of {form.bits} bits on elements of {region.bits}"
    if isinstance(command.attributes, Load | Store | Copy) and command.reads[0].bits != command.writes[0].bits:
        return f"{command.op} keeps the width, got {command.reads[0].bits} -> {command.writes[0].bits} bits"
    return ""


def sums(command: Command) -> str:
    """No sum of products of codes is beyond 64 bits, whatever the bits in memory are."""
    attributes = command.attributes
    if not isinstance(attributes, Conv | Matmul) or not (attributes.input.is_code and attributes.weight.is_code):
        return ""
    terms = math.prod(command.reads[1].shape[1:])
    if terms * _largest_number(attributes.input) * _largest_number(attributes.weight) < _LARGEST_SUM:
        return ""
    return f"sums of {terms} products must stay within 64 bits, got {attributes.input} and {attributes.weight}"


def activation(command: Command) -> str:
    """A clip has an order."""
    attributes = command.attributes
    if isinstance(attributes, Conv | Matmul | Eltwise) and attributes.tail.activation == "clip":
        tail = attributes.tail
        return "" if tail.low <= tail.high else f"clip needs low <= high, got {tail.low} and {tail.high}"
    return ""


def host_call(command: Command) -> str:
    """A host call names its function, its arguments are JSON, and its tensors are reads that exist, in float32."""
    attributes = command.attributes
    if not isinstance(attributes, Host):
        return ""
    if not attributes.function:
        return "expected the name of a function, got none"
    for region in (*command.reads, *command.writes):
        if region.bits != 32:
            return f"host tensors are float32, got {region.bits} bits"
    try:
        arguments = json.loads(attributes.arguments)
    except (ValueError, RecursionError):
        arguments = None
    if not (isinstance(arguments, list) and [type(part) for part in arguments] == [list, dict]):
        return f"expected arguments as JSON of [positional, named], got {attributes.arguments[:80]!r}"
    for index in _tensor_numbers(arguments):
        if not isinstance(index, int) or not 0 <= index < len(command.reads):
            return f"expected tensors 0..{len(command.reads) - 1}, got {index!r}"
    return ""


@lru_cache(maxsize=1 << 12)
def _largest_number(form: Format) -> int:
    """The largest magnitude of multiplier * code + offset, for any code that the bits can be."""
    codes = (-(1 << 31), (1 << 31) - 1) if form.bits == 32 else (0, (1 << form.bits) - 1)
    return max(abs(form.multiplier * code + form.offset) for code in codes)


def _pairs(command: Command) -> list[tuple[str, Format, Region]]:
    """Each region that has a format, with it."""
    attributes = command.attributes
    if isinstance(attributes, Pool):
        return [("input", attributes.input, command.reads[0]), ("output", attributes.output, command.writes[0])]
    if not isinstance(attributes, Conv | Matmul | Eltwise):
        return []
    pairs = [("input", attributes.input, command.reads[0])]
    if not isinstance(attributes, Eltwise):
        pairs.append(("weight", attributes.weight, command.reads[1]))
    if attributes.tail.multiply is not None:
        pairs.append(("factor", attributes.tail.multiply, command.reads[-1 - (attributes.tail.add is not None)]))
    if attributes.tail.add is not None:
        pairs.append(("addend", attributes.tail.add, command.reads[-1]))
    return [*pairs, ("output", attributes.tail.output, command.writes[0])]


def _tensor_numbers(arguments: list[object]) -> list[object]:
    """All i of {"tensor": i}, at any depth."""
    numbers: list[object] = []
    pending: list[object] = list(arguments)
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "tensor" in value:
                numbers.append(value["tensor"])
            else:
                pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return numbers
