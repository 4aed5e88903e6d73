"""A tensor that a part was written to -> the pieces of what it was around that part, joined.

Engines know no writes into a tensor that is there: `x[:, 1:] = y` is the x from here on that is made of x[:, :1] and y.
"""

from typing import Any

import torch

Bounds = tuple[tuple[int, int], ...]


def bounds_of(index: Any, shape: tuple[int, ...]) -> Bounds | None:
    """The first place of each axis that `index` takes, and the one behind the last; None where they are not in a row, or none."""
    items = list(index) if isinstance(index, tuple) else [index]
    if not all(each is Ellipsis or type(each) in (int, slice) for each in items) or items.count(Ellipsis) > 1:
        return None
    rest = [slice(None)] * (len(shape) + items.count(Ellipsis) - len(items))
    place = items.index(Ellipsis) if Ellipsis in items else len(items)
    items[place : place + 1] = rest
    if len(items) != len(shape):
        return None
    found = []
    for item, size in zip(items, shape, strict=True):
        start, stop, step = (
            item.indices(size) if isinstance(item, slice) else (range(size)[item], range(size)[item] + 1, 1)
        )
        if step != 1 or stop <= start:
            return None
        found.append((start, stop))
    return tuple(found)


def known_places(index: Any) -> Any:
    """The same index with lists as tensors, constant masks as the places that they choose, single constant places as numbers."""
    if isinstance(index, list):
        index = torch.tensor(index)  # the one place where a list is not as good as a tuple
    known: list[Any] = []
    for each in index if isinstance(index, tuple) else (index,):
        if not isinstance(each, torch.Tensor) or each.device.type == "meta":
            known.append(each)
        elif each.dtype == torch.bool and each.dim():
            known.extend(each.nonzero(as_tuple=True))
        else:
            known.append(each if each.dim() or each.dtype == torch.bool else int(each))
    return tuple(known) if isinstance(index, tuple) or len(known) > 1 else known[0]


def with_part(base: torch.Tensor, index: Any, bounds: Bounds, part: Any) -> torch.Tensor:
    """`base` with `part`, a number or what spreads over these places, at `index`, which is `bounds`."""
    taken = torch.Size(torch.empty(base.shape, device="meta")[index].shape)
    if not isinstance(part, torch.Tensor):
        part = torch.full((1,) * len(taken), part, dtype=base.dtype).expand(taken)
    elif part.shape != taken:
        torch.empty(part.shape, device="meta").expand(taken)  # torch says whether it can be spread
        part = part.reshape(*[1] * (len(taken) - part.dim()), *part.shape)
        part = part.repeat([size // own for size, own in zip(taken, part.shape, strict=True)])
    shape = torch.Size(stop - start for start, stop in bounds)
    return _around(base, bounds, part if taken == shape else part.reshape(shape), 0)


def _around(base: torch.Tensor, bounds: Bounds, part: torch.Tensor, axis: int) -> torch.Tensor:
    """The part with what `base` has around it from `axis` on."""
    while axis < len(bounds) and bounds[axis] == (0, base.shape[axis]):
        axis += 1
    if axis == len(bounds):
        return part
    (start, stop), size = bounds[axis], base.shape[axis]
    middle = _around(base.narrow(axis, start, stop - start), bounds, part, axis + 1)
    before = [base.narrow(axis, 0, start)] if start else []
    behind = [base.narrow(axis, stop, size - stop)] if stop < size else []
    return torch.cat([*before, middle, *behind], axis)
