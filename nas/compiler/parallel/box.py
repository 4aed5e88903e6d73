"""Parts of tensors: half-open ranges along every axis, the batch first. What one core makes, and what it needs for that."""

from itertools import accumulate

Range = tuple[int, int]
Box = tuple[Range, ...]


def whole_box(shape: tuple[int, ...]) -> Box:
    """All of a tensor."""
    return tuple((0, size) for size in shape)


def box_shape(box: Box) -> tuple[int, ...]:
    """The size along each axis."""
    return tuple(stop - start for start, stop in box)


def hull(one: Box | None, other: Box) -> Box:
    """The smallest box that holds both."""
    if one is None:
        return other
    return tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, other, strict=True))


def meet(one: Box, other: Box) -> bool:
    """Whether the two boxes share an element."""
    return all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))


def with_axis(box: Box, axis: int, part: Range) -> Box:
    """The box with another range along one axis."""
    return (*box[:axis], part, *box[axis + 1 :])


def shares(count: int, parts: int, step: int = 1) -> list[Range]:
    """0:count in `parts` ranges of nearly equal size that begin on multiples of `step`; the last ones may be empty."""
    units = -(-count // step)
    sizes = [units // parts + (part < units % parts) for part in range(parts)]
    ends = [min(end * step, count) for end in accumulate(sizes)]
    return list(zip([0, *ends], ends, strict=False))
