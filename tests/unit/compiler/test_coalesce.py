"""Loads become one where nobody begins later for it: hand-made queues, and random ones in the simulator."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from nas.compiler.opt.emit.coalesce import coalesce
from nas.compiler.opt.memory.alloc import addressed
from nas.compiler.parallel.trial import commands_tried
from nas.hw.load import find_processor
from nas.ir.command import Command, Eltwise, Load
from nas.ir.tensor import Region

# A load takes 88 cycles and one for every 5 bytes, a byte on the lanes 1/32 of one.
EDGE_NPU = find_processor("edge_npu")
CONSTANTS = 1 << 20
SHORT, LONG = 64, 1 << 16  # elements of work: 10 and 2056 cycles


def queue(*steps: tuple[int, int], apart: int = 0) -> tuple[list[Command], dict[str, int]]:
    """For each step a load of so many bytes of constants, and work on them of so many elements; apart: bytes between two."""
    commands, sizes, address = [], {}, CONSTANTS
    for number, (size, elements) in enumerate(steps):
        commands += [load(f"c{number}", address, size), work([f"c{number}"], f"y{number}", elements)]
        sizes |= {f"c{number}": size, f"y{number}": elements}
        address += size + apart
    return commands, sizes


def load(buffer: str, address: int, size: int) -> Command:
    source, target = (Region(memory, start, (size,), (1,), 8) for memory, start in (("dram", address), (buffer, 0)))
    return Command("dma_in", "", (source,), (target,), Load())


def work(sources: Sequence[str], target: str, elements: int) -> Command:
    """The first source is worked on, byte by byte, as long as it takes; the others are there to be waited for."""
    regions = [Region(name, 0, (1, elements), (0, 0), 8) for name in sources]
    return Command("vector", "", tuple(regions), (Region(target, 0, (1, elements), (elements, 1), 8),), Eltwise())


def loads(commands: list[Command], sizes: dict[str, int], limit_bytes: int = 4096) -> list[int]:
    joined, _ = coalesce(commands, sizes, CONSTANTS, limit_bytes, EDGE_NPU)
    return [command.reads[0].shape[0] for command in joined if isinstance(command.attributes, Load)]


def test_who_waits_for_a_load_does_not_wait_for_the_next() -> None:
    assert loads(*queue((1024, LONG), (1024, LONG))) == [1024, 1024]


def test_what_is_needed_later_comes_together() -> None:
    assert loads(*queue((1024, LONG), (512, SHORT), (512, SHORT), (512, SHORT))) == [1024, 1536]


def test_short_work_had_better_wait_for_all() -> None:
    assert loads(*queue((1024, SHORT), (1024, SHORT), (1024, SHORT))) == [3072]


def test_no_more_than_the_limit_comes_together() -> None:
    assert loads(*queue(*[(512, SHORT)] * 5), limit_bytes=1024) == [1024, 1024, 512]


def test_what_lies_apart_stays_apart() -> None:
    assert loads(*queue((1024, SHORT), (1024, SHORT), apart=64)) == [1024, 1024]


def test_an_image_behind_a_load_is_not_held_up() -> None:
    """The first work waits for its constants and for the image, which would come later if more constants came first."""
    image = load("image", 0, 1024)
    (first, _, second, last), sizes = queue((1024, LONG), (1024, LONG))
    commands = [first, image, work(["c0", "image"], "y0", LONG), second, last]
    assert loads(commands, sizes | {"image": 1024}) == [1024, 1024, 1024]


STEP = st.tuples(st.integers(1, 30).map(lambda size: 64 * size), st.integers(1, 1 << 15))


@given(st.lists(STEP, min_size=2, max_size=12))
def test_joined_loads_are_never_slower(steps: list[tuple[int, int]]) -> None:
    commands, sizes = queue(*steps)
    joined, their_sizes = coalesce(commands, sizes, CONSTANTS, 4096, EDGE_NPU)
    assert sum(command.reads[0].shape[0] for command in joined if isinstance(command.attributes, Load)) == sum(
        size for size, _ in steps
    )
    assert cycles(joined, their_sizes) <= cycles(commands, sizes)


def cycles(commands: list[Command], sizes: dict[str, int]) -> int:
    """With a place of its own for every buffer."""
    starts, end = {}, 0
    for name, size in sizes.items():
        starts[name], end = end, end + size
    return commands_tried(addressed(commands, starts), EDGE_NPU).trace.cycles
