"""Coalesce: loads of constants that lie behind one another in dram become one, which pays the latency once.

Whoever waits for the first of them then waits for all. So a load joins those before it only where, by an estimate, what uses it
begins no later for that: because the engines still have work when all are there, or would have waited for this one anyway.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nas.compiler.regions import aligned
from nas.hw.spec import Processor
from nas.ir.command import Command, Load
from nas.ir.tensor import Region
from nas.timing.cycles import dma_latency_cycles, transfer_cycles
from nas.timing.price import command_price

_Move = tuple[str, int]


def coalesce(
    commands: list[Command], buffer_bytes: dict[str, int], constants_start: int, limit_bytes: int, processor: Processor
) -> tuple[list[Command], dict[str, int]]:
    """The commands with neighbouring loads of constants (from `constants_start` in dram on) joined up to `limit_bytes`."""
    joined: dict[str, _Move] = {}
    replaced: dict[int, Command | None] = {}
    sizes = dict(buffer_bytes)
    for run in _runs(commands, constants_start, limit_bytes, processor):
        _join(commands, run, joined, replaced, sizes)
    result = []
    for index, command in enumerate(commands):
        kept = replaced.get(index, command)
        if kept is not None:
            result.append(_moved(kept, joined))
    return result, sizes


def _runs(commands: Sequence[Command], constants_start: int, limit_bytes: int, processor: Processor) -> list[list[int]]:
    """The loads that become one, by their places, as far as there are any; they may be single."""
    constants = [index for index, command in enumerate(commands) if _is_constant(command, constants_start)]
    # Others are not worth the estimate.
    pairs = {
        after
        for before, after in pairwise(constants)
        if _lie_together(commands[before], commands[after])
        and _size(commands[before]) + _size(commands[after]) <= limit_bytes
    }
    runs: list[list[int]] = []
    estimate, size_bytes = _Estimate(processor), 0
    for index, command in enumerate(commands[: max(pairs, default=-1) + 1]):
        if type(command.attributes) is not Load:
            estimate.compute(command)
        elif not _is_constant(command, constants_start):
            estimate.load(command, others_may_join=False)
        else:
            fits = index in pairs and size_bytes + _size(command) <= limit_bytes
            if fits and estimate.joins(command):
                runs[-1].append(index)
                size_bytes += _size(command)
            else:
                runs.append([index])
                size_bytes = _size(command)
                estimate.load(command, others_may_join=True)
    return runs


@dataclass
class _Estimate:
    """When things happen if loads come one after the other from the beginning on, and an engine begins when it is free and all that it
    reads is there; in cycles since some time that moves on where the engines would have to wait longer.

    loaded: the end of the last load; recent: the last one that others may join, and those behind it; slack: how much later these
    might end without anybody who has used them beginning later.
    """

    processor: Processor
    loaded: int = 0
    recent: set[str] = field(default_factory=set)
    slack: float = math.inf
    free: dict[str, int] = field(default_factory=dict)
    there: dict[str, int] = field(default_factory=dict)

    def compute(self, command: Command) -> None:
        """A command that is no load; stores take the dram no time here."""
        there, names = self.there, [region.memory for region in command.reads]
        start = max([self.free.get(command.engine, 0), *(there[name] for name in names if name in there)])
        for name in names:
            if name in self.recent:
                self.slack = min(self.slack, start - there[name])
        end = start + command_price(command, self.processor).cycles
        self.free[command.engine] = end
        for region in command.writes:
            self.there[region.memory] = end

    def load(self, command: Command, others_may_join: bool) -> None:
        """A load of its own."""
        if others_may_join:
            self.recent, self.slack = set(), math.inf
        self.loaded += dma_latency_cycles(self.processor) + self._transfer(command)
        self._bring(command)

    def joins(self, command: Command) -> bool:
        """Whether a load is better part of the last one that others may join; it is then."""
        transfer = self._transfer(command)
        late = max(0, transfer - self.slack)
        worked, loaded = max(self.free.values(), default=0), self.loaded + transfer
        if max(worked + late, loaded) > max(worked, loaded + dma_latency_cycles(self.processor)):
            return False
        moved = int(min(transfer, self.slack))
        self.loaded, self.slack = self.loaded + moved, self.slack - moved
        for name in self.recent:
            self.there[name] += moved
        self._bring(command)
        return True

    def _bring(self, command: Command) -> None:
        name = command.writes[0].memory
        self.there[name] = self.loaded
        self.recent.add(name)

    def _transfer(self, command: Command) -> int:
        return transfer_cycles(command.reads[0].payload_bytes, self.processor)


def _is_constant(command: Command, constants_start: int) -> bool:
    return type(command.attributes) is Load and command.reads[0].offset_bytes >= constants_start


def _lie_together(before: Command, after: Command) -> bool:
    """Whether `after` loads what lies right behind what `before` loads."""
    return before.reads[0].offset_bytes + _size(before) == after.reads[0].offset_bytes


def _size(command: Command) -> int:
    return command.reads[0].shape[0]


def _join(
    commands: list[Command],
    run: list[int],
    joined: dict[str, _Move],
    replaced: dict[int, Command | None],
    sizes: dict[str, int],
) -> None:
    if len(run) < 2:
        return
    first = commands[run[0]]
    target, total = first.writes[0].memory, 0
    for index in run:
        name = commands[index].writes[0].memory
        joined[name] = (target, total)
        replaced[index] = None
        total += aligned(_size(commands[index]))
        del sizes[name]
    sizes[target] = total
    source, local = first.reads[0], first.writes[0]
    replaced[run[0]] = Command(
        first.engine,
        first.layer,
        (Region("dram", source.offset_bytes, (total,), (1,), 8),),
        (Region(local.memory, 0, (total,), (1,), 8),),
        Load(),
    )


def _moved(command: Command, joined: dict[str, _Move]) -> Command:
    if not any(region.memory in joined for region in command.reads):
        return command
    reads = tuple(
        Region(
            joined[region.memory][0],
            joined[region.memory][1] + region.offset_bytes,
            region.shape,
            region.strides,
            region.bits,
        )
        if region.memory in joined
        else region
        for region in command.reads
    )
    return Command(command.engine, command.layer, reads, command.writes, command.attributes)
