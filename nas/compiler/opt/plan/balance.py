"""Parts that are done together, over and over -> how each is shared between the engines, so that both have as much to do."""

from collections.abc import Sequence
from typing import NamedTuple

from nas.compiler.opt.engines.share import Array, Pace, array_part_cycles, engine_cycles, shared_cycles
from nas.compiler.tiling import Part, engine_of
from nas.hw.spec import Processor


class Work(NamedTuple):
    """A part that is done so many times, each time on other channels."""

    part: Part
    array: Array
    times: int = 1


def balanced(
    works: Sequence[Work], overlaps: bool, moving_cycles: int, processor: Processor
) -> tuple[tuple[Pace | None, ...], float]:
    """The paces of all parts, None for one engine only; and the cycles of all of them once, about.

    overlaps: whether the engines work at the same time, on different parts; then the vector engine makes as much of its own as the
    matrix engine's own takes, and nothing of what is the matrix engine's, if that would take longer. moving_cycles: the vector
    engine is busy so long with something else.
    """
    own = [work.times * engine_cycles(work.part, work.array, processor) for work in works]
    on_matrix = [engine_of(work.part.function) == "matrix" for work in works]
    matrix_cycles = sum(cycles for cycles, is_there in zip(own, on_matrix, strict=True) if is_there)
    vector_cycles = max(1, sum(own) - matrix_cycles)
    if not overlaps:
        return (Pace(),) * len(works), float(matrix_cycles + vector_cycles + moving_cycles)
    helping_cycles = sum(
        work.times * array_part_cycles(work.part, work.array, processor)
        for work, is_there in zip(works, on_matrix, strict=True)
        if not is_there
    )
    ahead_cycles = max(0, matrix_cycles - moving_cycles)
    both = float(max(matrix_cycles, vector_cycles + moving_cycles))
    if helping_cycles and vector_cycles > ahead_cycles:
        both = moving_cycles + vector_cycles * (ahead_cycles + helping_cycles) / (vector_cycles + helping_cycles)
    helped_cycles = sum(
        work.times * shared_cycles(work.part, Pace(), work.array, processor)
        for work, is_there in zip(works, on_matrix, strict=True)
        if is_there
    )
    can_help = vector_cycles + moving_cycles + helped_cycles < both
    paces = [
        (Pace() if can_help else None) if is_there else Pace(0, ahead_cycles * cycles // vector_cycles // work.times)
        for work, cycles, is_there in zip(works, own, on_matrix, strict=True)
    ]
    return tuple(paces), min(both, vector_cycles + moving_cycles + helped_cycles)
