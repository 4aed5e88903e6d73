"""Rules that hold for both forms of a program: its frame, its bindings, and what its commands do to the memories."""

import math
from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from nas.check.formats import format_breach
from nas.check.marks import Written
from nas.check.memory import overlap, ragged_breach, repeats, span_bytes
from nas.check.operands import LARGEST
from nas.check.race import within_commands
from nas.check.rule import Place, box_text
from nas.check.subject import Subject
from nas.ir.command import Command, Conv, Copy, Eltwise, Matmul
from nas.ir.program import Binding
from nas.ir.tensor import ELEMENT_BITS, Region

_DRAM = "dram"


def processor(subject: Subject) -> Iterator[Place]:
    """The program was made for this processor."""
    if subject.program.processor != subject.processor.name:
        yield "program", f"expected a program for {subject.processor.name!r}, got {subject.program.processor!r}"


def used_bytes(subject: Subject) -> Iterator[Place]:
    """No more of any memory is in use than the processor has."""
    sizes = subject.processor.memory_bytes()
    for memory, used in subject.program.used_bytes.items():
        if memory not in sizes:
            yield "used_bytes", f"expected one of {', '.join(sizes)}, got {memory!r}"
        elif not 0 <= used <= sizes[memory]:
            yield "used_bytes", f"{memory} has {sizes[memory]} bytes, got {used} in use"


def bindings(subject: Subject) -> Iterator[Place]:
    """Every bound tensor has a name of its own and lies in dram, in a layout that makes sense."""
    names: set[str] = set()
    for part, binding in subject.bindings():
        where = f"{part} {binding.name}"
        if binding.name in names:
            yield where, "expected a name of its own, got one that is taken"
        names.add(binding.name)
        wrong = _binding_breach(binding)
        if not wrong and part == "input" and binding.format.is_code and binding.format.multiplier != 1:
            wrong = f"only codes of multiplier 1 can be written, got {binding.format.multiplier}"
        if wrong:
            yield where, wrong


def inside(subject: Subject) -> Iterator[Place]:
    """Every region lies in the used part of a memory."""
    used = subject.program.used_bytes
    accesses = subject.accesses
    for index, region, end in zip(accesses.command, accesses.region, accesses.end, strict=True):
        if region.memory not in used or region.offset_bytes < 0 or end > used[region.memory]:
            yield subject.place(index), _outside(region, end, used)
    for part, binding in subject.bindings():
        region = binding.region
        end = region.offset_bytes + span_bytes(region.shape, region.strides, region.bits)
        if region.memory not in used or region.offset_bytes < 0 or end > used[region.memory]:
            yield f"{part} {binding.name}", _outside(region, end, used)


def bindings_apart(subject: Subject) -> Iterator[Place]:
    """No two bound tensors share a byte."""
    bound = [(*_interval(binding.region), part, binding) for part, binding in subject.bindings()]
    bound.sort(key=lambda entry: entry[:2])
    for index, (_, end, part, binding) in enumerate(bound):
        for start, _, other_part, other in bound[index + 1 :]:
            if start >= end:
                break
            if overlap(binding.region, other.region):
                yield f"{part} {binding.name}", f"shares bytes with {other_part} {other.name} in {_DRAM}"


def read_only(subject: Subject) -> Iterator[Place]:
    """Nobody writes into inputs or constants."""
    bound = [(*_interval(binding.region), part, binding) for part, binding in subject.bindings() if part != "output"]
    bound.sort(key=lambda entry: entry[:2])
    starts = np.array([entry[0] for entry in bound], np.int64)
    # Bound tensors may interlock, so that the ends need not be in order; their running maximum is.
    ends = np.maximum.accumulate(np.array([entry[1] for entry in bound], np.int64))
    accesses = subject.accesses
    writes = np.flatnonzero(accesses.writes).tolist()
    entries = np.array([entry for entry in writes if accesses.region[entry].memory == _DRAM], np.int64)
    first = np.searchsorted(ends, accesses.starts[entries], side="right")
    last = np.searchsorted(starts, accesses.ends[entries], side="left")
    for row in np.flatnonzero(first < last).tolist():
        entry = int(entries[row])
        region = accesses.region[entry]
        for _, _, part, binding in bound[first[row] : last[row]]:
            if overlap(region, binding.region):
                where = subject.place(accesses.command[entry])
                yield where, f"writes into {part} {binding.name} at {box_text(region)}"


def in_place(subject: Subject) -> Iterator[Place]:
    """No command writes over what it reads, unless element by element in place; nor twice to one byte."""
    accesses = subject.accesses
    for entry, other in within_commands(accesses):
        written, region = accesses.region[entry], accesses.region[other]
        index = accesses.command[entry]
        if accesses.is_write[other]:
            yield subject.place(index), f"writes {box_text(written)} and {box_text(region)}, which share bytes"
            continue
        number = other - bisect_left(accesses.command, index)
        if region != written or number not in _reads_in_step(subject.commands[index]):
            yield subject.place(index), f"writes {box_text(written)} over what it reads, {box_text(region)}"


def written_before_read(subject: Subject) -> Iterator[Place]:
    """Every byte that is read was written before, or is an input's or a constant's."""
    written = {memory: Written(used, unit) for memory, (used, unit) in subject.memories.items()}
    for part, binding in subject.bindings():
        if part != "output":
            written[binding.region.memory].add(binding.region)
    for index in subject.order:
        command = subject.commands[index]
        for number, region in enumerate(command.reads):
            missing = written[region.memory].missing(region)
            if missing:
                yield subject.place(index), f"read {number}, {box_text(region)}: {missing} byte(s) were never written"
        for region in command.writes:
            written[region.memory].add(region)


def outputs_complete(subject: Subject) -> Iterator[Place]:
    """At the end every byte of every output has been written."""
    if not subject.program.outputs:
        return
    written = Written(*subject.memories[_DRAM])
    intervals = [_interval(binding.region) for binding in subject.program.outputs]
    first, last = min(start for start, _ in intervals), max(end for _, end in intervals)
    accesses = subject.accesses
    for entry in np.flatnonzero(accesses.writes & (accesses.starts < last) & (accesses.ends > first)).tolist():
        if accesses.region[entry].memory == _DRAM:
            written.add(accesses.region[entry])
    for binding in subject.program.outputs:
        missing = written.missing(binding.region)
        if missing:
            yield f"output {binding.name}", f"{missing} byte(s) of {box_text(binding.region)} were never written"


def _binding_breach(binding: Binding) -> str:
    region, form = binding.region, binding.format
    if region.memory != _DRAM:
        return f"expected a place in {_DRAM}, got {region.memory!r}"
    if region.bits not in ELEMENT_BITS or region.bits != form.bits:
        return f"expected elements as wide as the format's {form.bits} bits, got {region.bits}"
    if len(region.shape) != len(region.strides) or min(region.shape, default=1) < 1:
        return f"expected sizes of 1 or more and a stride for each, got {region.shape} and {region.strides}"
    if max(math.prod(region.shape), *region.strides, 0) > LARGEST:
        return f"expected sizes and strides of a memory's size at most, got {region.shape} and {region.strides}"
    if min(region.strides, default=0) < 0 or repeats(region.shape, region.strides):
        return f"expected a place of its own for every element, got {region.shape} and {region.strides}"
    return ragged_breach(region) or format_breach(form)


def _interval(region: Region) -> tuple[int, int]:
    return region.offset_bytes, region.offset_bytes + span_bytes(region.shape, region.strides, region.bits)


def _outside(region: Region, end: int, used: dict[str, int]) -> str:
    if region.memory not in used:
        return f"expected a memory in use ({', '.join(used)}), got {region.memory!r}"
    return f"{box_text(region)} ends at byte {end}, {used[region.memory]} are in use"


def _reads_in_step(command: Command) -> tuple[int, ...]:
    """The reads whose element is done with when the result's element in the same place is written."""
    attributes = command.attributes
    if isinstance(attributes, Copy):
        return (0,)
    if not isinstance(attributes, Conv | Matmul | Eltwise) or attributes.tail.pool is not None:
        return ()
    # Factor and addend are the last reads; one that is spread over an axis is never the very region that is written.
    spread = (attributes.tail.multiply is not None) + (attributes.tail.add is not None)
    first = (0,) if isinstance(attributes, Eltwise) else ()
    return (*first, *range(len(command.reads) - spread, len(command.reads)))
