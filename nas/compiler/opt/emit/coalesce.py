"""Coalesce: small loads of constants that lie behind one another in dram become one, which pays the latency once.

The first load of a program stays alone, since everything waits for it.
"""

from nas.compiler.regions import aligned
from nas.ir.command import Command, Load
from nas.ir.tensor import Region

_Move = tuple[str, int]


def coalesce(
    commands: list[Command], buffer_bytes: dict[str, int], constants_start: int, limit_bytes: int
) -> tuple[list[Command], dict[str, int]]:
    """The commands with neighbouring loads of constants (from `constants_start` in dram on) joined up to `limit_bytes`."""
    joined: dict[str, _Move] = {}
    replaced: dict[int, Command | None] = {}
    sizes = dict(buffer_bytes)
    run: list[int] = []
    seen_first = False
    loads = [index for index, command in enumerate(commands) if _is_constant(command, constants_start)]
    for index in loads:
        command = commands[index]
        if not seen_first:
            seen_first = True
            continue
        if run and not _follows(commands[run[-1]], command, sum(_size(commands[i]) for i in run), limit_bytes):
            _join(commands, run, joined, replaced, sizes)
            run = []
        run.append(index)
    _join(commands, run, joined, replaced, sizes)
    result = []
    for index, command in enumerate(commands):
        kept = replaced.get(index, command)
        if kept is not None:
            result.append(_moved(kept, joined))
    return result, sizes


def _is_constant(command: Command, constants_start: int) -> bool:
    return type(command.attributes) is Load and command.reads[0].offset_bytes >= constants_start


def _size(command: Command) -> int:
    return command.reads[0].shape[0]


def _follows(before: Command, after: Command, size_bytes: int, limit_bytes: int) -> bool:
    """Whether `after` loads what lies right behind what `before` loads, and both together are small enough."""
    near = before.reads[0].offset_bytes + _size(before) == after.reads[0].offset_bytes
    return near and size_bytes + _size(after) <= limit_bytes


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
