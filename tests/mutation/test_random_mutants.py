"""Random mutants of legal programs, against an interpreter and a race detector that go byte by byte.

The interpreter knows no arithmetic: a byte holds a number that stands for how its value came about, 0 for garbage. So two
programs give the same outputs here exactly if they do the same things to the same values. Beside it stands the format of
the byte, None where it was moved together with bytes of another one. The race detector closes the
order over all edges and intersects sets of bytes. Both are slow, short, and written without the checker.
"""

import hashlib
from collections import Counter
from functools import lru_cache
from itertools import product

import msgspec
import numpy as np
import pytest

from nas.check.parallel import check_par_program
from nas.check.sequential import check_program
from nas.core.seeding import stream
from nas.ir.command import Command, Conv, Copy, Eltwise, Load, Store
from nas.ir.par_program import ParProgram, Step
from nas.ir.program import Program
from nas.ir.tensor import FLOAT32, Format, Region

replace = msgspec.structs.replace
MUTANTS = 400


class Broken(Exception):
    """What the interpreter could not do."""


@lru_cache(maxsize=4096)
def touched(region: Region) -> tuple[int, ...]:
    """The bytes of all elements, in row-major order of the elements."""
    width = region.bits // 8
    return tuple(
        region.offset_bytes + sum(i * s for i, s in zip(index, region.strides, strict=True)) * width + byte
        for index in product(*map(range, region.shape))
        for byte in range(width)
    )


class Interpreter:
    def __init__(self, program: Program | ParProgram) -> None:
        self.program = program
        self.memories = {name: np.zeros(size, np.uint64) for name, size in program.used_bytes.items()}
        self.formats = {name: np.full(size, None, object) for name, size in program.used_bytes.items()}
        self.protected: set[int] = set()
        for binding in (*program.inputs, *program.constants):
            places = list(touched(binding.region))
            self.protected.update(places)
            self.memories["dram"][places] = [self._number(binding.name, place) for place in places]
            self.formats["dram"][places] = binding.format

    def run(self, commands: tuple[Command, ...]) -> list[np.ndarray]:
        for command in commands:
            self.execute(command)
        outputs = [self.memories["dram"][list(touched(binding.region))] for binding in self.program.outputs]
        if any((output == 0).any() for output in outputs):
            raise Broken("garbage in an output")
        for binding in self.program.outputs:
            self._expect(binding.format, "dram", list(touched(binding.region)))
        return outputs

    def execute(self, command: Command) -> None:
        shapes_fit(command)
        reads = [self._bytes(region) for region in command.reads]
        (write,) = (self._bytes(region) for region in command.writes)
        (target,) = command.writes
        if len(set(write)) < len(write):
            raise Broken("a byte written twice")
        if target.memory == "dram" and self.protected & set(write):
            raise Broken("an input or a constant overwritten")
        for region, places in zip(command.reads, reads, strict=True):
            in_step = isinstance(command.attributes, Eltwise | Copy) and region == target
            if region.memory == target.memory and set(places) & set(write) and not in_step:
                raise Broken("an operand overwritten")
        values = [self.memories[r.memory][places] for r, places in zip(command.reads, reads, strict=True)]
        if any((value == 0).any() for value in values):
            raise Broken("garbage read")
        if isinstance(command.attributes, Load | Store | Copy):
            self.memories[target.memory][write] = values[0]
            moved = set(self.formats[command.reads[0].memory][reads[0]])
            self.formats[target.memory][write] = moved.pop() if len(moved) == 1 else None
        else:
            *taken, given = formats_of(command.attributes)
            for form, region, places in zip(taken, command.reads, reads, strict=True):
                self._expect(form, region.memory, places)
            self.formats[target.memory][write] = given
            made_of = self._number(repr(command.attributes), *(value.tobytes() for value in values))
            self.memories[target.memory][write] = [self._number(made_of, place) for place in range(len(write))]

    def _expect(self, form: Format, memory: str, places: list[int]) -> None:
        if not set(self.formats[memory][places]) <= {None, form}:
            raise Broken("another format")

    def _bytes(self, region: Region) -> list[int]:
        places = list(touched(region))
        if not places or min(places) < 0 or max(places) >= len(self.memories[region.memory]):
            raise Broken("outside the memory")
        return places

    @staticmethod
    def _number(*parts: object) -> int:
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "little") + 1


def formats_of(attributes: Conv | Eltwise) -> list[Format]:
    taken = [attributes.input, attributes.weight, FLOAT32] if isinstance(attributes, Conv) else [attributes.input]
    return [*taken, attributes.tail.output]


def shapes_fit(command: Command) -> None:
    """The page of `nas.ir.command` for the ops of these programs; a window is slid, not computed."""
    source, target = command.reads[0].shape, command.writes[0].shape
    attributes = command.attributes
    if min(*source, *target) < 1:
        raise Broken("no elements")
    engine = {Load: "dma_in", Store: "dma_out", Conv: "matrix vector", Copy: "vector", Eltwise: "vector"}
    if command.engine not in engine[type(attributes)].split():
        raise Broken("an engine that does not know the op")
    if isinstance(attributes, Copy):
        fits = np.prod(source) == np.prod(target)
    elif isinstance(attributes, Conv):
        top, left, bottom, right = attributes.window.padding
        rows = [row for row in range(-top, source[1] + bottom) if row + 3 <= source[1] + bottom]
        columns = [column for column in range(-left, source[2] + right) if column + 3 <= source[2] + right]
        weights, table = command.reads[1].shape, command.reads[2].shape
        fits = target == (weights[0], len(rows), len(columns)) and weights[1:] == (source[0], 3, 3)
        fits = fits and table == (2, weights[0])
    else:
        fits = source == target
    if not fits:
        raise Broken("shapes that do not fit")


def change_region(command: Command, generator: np.random.Generator) -> Command:
    """Move an address, change a stride, or shrink a shape of one of its regions."""
    part = ("reads", "writes")[generator.integers(2)]
    regions = list(getattr(command, part))
    which = int(generator.integers(len(regions)))
    region = regions[which]
    axis = int(generator.integers(len(region.shape)))
    kind = generator.integers(3)
    if kind == 0:
        distance = int(generator.choice([-512, -64, -16, -8, -4, -1, 1, 4, 8, 16, 64, 512]))
        region = replace(region, offset_bytes=region.offset_bytes + distance)
    elif kind == 1:
        strides = list(region.strides)
        strides[axis] = max(0, strides[axis] + int(generator.choice([-8, -1, 1, 8])))
        region = replace(region, strides=tuple(strides))
    else:
        shape = list(region.shape)
        shape[axis] -= 1
        region = replace(region, shape=tuple(shape))
    regions[which] = region
    return replace(command, **{part: tuple(regions)})


def mutant_of(program: Program, generator: np.random.Generator) -> Program:
    commands = list(program.commands)
    a, b = (int(index) for index in generator.choice(len(commands), 2, replace=False))
    kind = generator.integers(6)
    if kind <= 2:
        commands[a] = change_region(commands[a], generator)
    elif kind == 3:
        commands[a], commands[b] = commands[b], commands[a]
    elif kind == 4:
        del commands[a]
    else:
        engine = ("dma_in", "dma_out", "matrix", "vector", "host")[generator.integers(5)]
        commands[a] = replace(commands[a], engine=engine)
    return replace(program, commands=tuple(commands))


def test_mutants_of_a_sequential_program(legal) -> None:
    """An alarm is raised exactly for the mutants that the interpreter can't run."""
    generator = stream(1, "mutants", "sequential")
    caught = 0
    for _ in range(MUTANTS):
        mutant = mutant_of(legal.program, generator)
        try:
            Interpreter(mutant).run(mutant.commands)
            why = ""
        except Broken as error:
            why = str(error)
        findings = check_program(mutant, legal.processor)
        assert bool(findings) == bool(why), (why, findings)
        caught += bool(findings)
    assert MUTANTS / 4 < caught < MUTANTS  # both kinds of mutants were met


def par_mutant_of(par: ParProgram, generator: np.random.Generator) -> ParProgram:
    queues = {name: list(steps) for name, steps in par.queues.items()}
    names = [name for name in queues if queues[name]]
    kind = generator.integers(6)
    token = int(generator.integers(9))
    if kind <= 1:  # drop a token, or its signal or wait alone, or let another step signal it or wait for it
        part = ("signals", "waits")[generator.integers(2)]
        for steps in queues.values():
            for place, step in enumerate(steps):
                parts = ("signals", "waits") if kind == 0 else (part,)
                kept = {name: tuple(t for t in getattr(step, name) if t != token) for name in parts}
                steps[place] = replace(step, **kept)
        if kind == 1 and generator.integers(4):
            steps = queues[names[generator.integers(len(names))]]
            place = int(generator.integers(len(steps)))
            steps[place] = replace(steps[place], **{part: (*getattr(steps[place], part), token)})
    else:
        steps = queues[names[generator.integers(len(names))]]
        a, b = (int(index) for index in generator.integers(len(steps), size=2))
        if kind == 2:  # swap two steps with their tokens
            steps[a], steps[b] = steps[b], steps[a]
        elif kind == 3:  # swap two commands, the tokens stay
            steps[a], steps[b] = (
                replace(steps[a], command=steps[b].command),
                replace(steps[b], command=steps[a].command),
            )
        elif kind == 4:
            steps[a] = replace(steps[a], command=change_region(steps[a].command, generator))
        else:
            queues["vector" if generator.integers(2) else "matrix"].append(steps.pop(a))
    return replace(par, queues={name: tuple(steps) for name, steps in queues.items()})


def edges_of(steps: list[tuple[str, Step]]) -> np.ndarray:
    """reach[a, b]: a ends before b starts."""
    count = len(steps)
    reach = np.zeros((count, count), bool)
    for a, b in product(range(count), repeat=2):
        reach[a, b] = a < b and steps[a][0] == steps[b][0]
        reach[a, b] |= bool(set(steps[a][1].signals) & set(steps[b][1].waits))
    for middle in range(count):
        reach |= reach[:, middle, None] & reach[None, middle, :]
    return reach


@lru_cache(maxsize=4096)
def conflict(a: Command, b: Command) -> bool:
    return any(
        one.memory == other.memory and set(touched(one)) & set(touched(other))
        for ones, others in ((a.writes, b.reads), (a.writes, b.writes), (a.reads, b.writes))
        for one in ones
        for other in others
    )


def why_broken(par: ParProgram, program: Program, expected: list[np.ndarray], generator: np.random.Generator) -> str:
    """ "" if the parallel program does the work of the sequential one under every speed of its engines."""
    steps = [(queue, step) for queue, queued in par.queues.items() for step in queued]
    for part in ("signals", "waits"):
        counts = Counter(token for _, step in steps for token in getattr(step, part))
        others = Counter(token for _, step in steps for token in (*step.signals, *step.waits))
        if any(counts[token] != 1 for token in others):
            return "tokens"
    if any(queue != step.command.engine for queue, step in steps):
        return "queue"
    commands = [step.command for _, step in steps]
    if Counter(commands) != Counter(program.commands):
        return "work"
    reach = edges_of(steps)
    if reach.diagonal().any():
        return "deadlock"
    place = {command: index for index, command in enumerate(program.commands)}
    for a, b in product(range(len(steps)), repeat=2):
        if place[commands[a]] < place[commands[b]] and not reach[a, b] and conflict(commands[a], commands[b]):
            return "order" if reach[b, a] else "race"
    for _ in range(3):
        left, done = set(range(len(steps))), []
        while left:
            ready = [b for b in left if not any(reach[a, b] for a in left)]
            done.append(ready[generator.integers(len(ready))])
            left.remove(done[-1])
        got = Interpreter(program).run(tuple(commands[number] for number in done))
        assert all((one == other).all() for one, other in zip(got, expected, strict=True))
    return ""


def test_mutants_of_a_parallel_program(legal) -> None:
    """An alarm is raised exactly for the mutants that are another program in some legal order."""
    generator = stream(1, "mutants", "parallel")
    expected = Interpreter(legal.program).run(legal.program.commands)
    reasons: Counter[str] = Counter()
    for _ in range(MUTANTS):
        mutant = par_mutant_of(legal.par, generator)
        why = why_broken(mutant, legal.program, expected, generator)
        findings = check_par_program(mutant, legal.processor, legal.program)
        assert bool(findings) == bool(why), (why, findings)
        reasons[why] += 1
    assert {"", "tokens", "queue", "work", "deadlock", "race", "order"} <= set(reasons)


@pytest.mark.parametrize("seed", range(3))
def test_an_alarm_is_not_raised_by_more_tokens(seed: int, legal) -> None:
    """Any order may be added to a legal program as long as it agrees with the sequential one."""
    generator = stream(seed, "mutants", "more tokens")
    program, queues = legal.program, {name: list(steps) for name, steps in legal.par.queues.items()}
    where = {step.command: (name, index) for name, steps in queues.items() for index, step in enumerate(steps)}
    for token in range(100, 120):
        a, b = sorted(int(index) for index in generator.choice(len(program.commands), 2, replace=False))
        for index, part in ((a, "signals"), (b, "waits")):
            name, place = where[program.commands[index]]
            step = queues[name][place]
            queues[name][place] = replace(step, **{part: (*getattr(step, part), token)})
    par = replace(legal.par, queues={name: tuple(steps) for name, steps in queues.items()})
    assert check_par_program(par, legal.processor, program) == ()
