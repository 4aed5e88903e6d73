"""Writes into parts of tensors, which torch does in place: the programs compute what torch does."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.compiler.front_end.lower import network_of
from nas.core.errors import InputError
from nas.ir.command import Host
from tests.differential.test_compiler_against_torch import check_values, compiled_of
from tests.differential.test_lowerings_against_torch import Forward

Write = Callable[[Tensor], object]


def assign(index: object, made: Callable[[Tensor], Tensor | float]) -> Write:
    def write(x: Tensor) -> None:
        x[index] = made(x)  # type: ignore[index]

    return write


def add_to(index: object, made: Callable[[Tensor], Tensor | float]) -> Write:
    def write(x: Tensor) -> None:
        x[index] += made(x)  # type: ignore[index]

    return write


def a_part_of_a_part(x: Tensor) -> None:
    x[:, 1:][:, :, 2:4] = x[:, :5, 1:3].relu()


def two_ways_to_one_part(x: Tensor) -> None:
    half = x[:, 3:]
    half.mul_(2.0)
    half[:, 0] += 1.0


def a_pile(x: Tensor) -> Tensor:
    pile = torch.zeros(x.shape[0], 8, *x.shape[2:])
    pile[:, :6] = x
    pile[:, 6:] = x[:, :2].sigmoid()
    return pile


def every_other(x: Tensor) -> Tensor:
    eight = torch.cat([x, x[:, :2]], 1)
    return eight + F.relu((x - 1.0)[:, ::2], inplace=True).mean(1, keepdim=True)


ALL = slice(None)
# On maps of (2, 6, 7, 9).
WRITES: dict[str, Write] = {
    "a channel": assign((ALL, 0), lambda x: 0.5),
    "channels": assign((ALL, slice(1, 4)), lambda x: x[:, 2:5] * 2),
    "the last ones": assign((ALL, slice(-2, None)), lambda x: x[:, :2].relu()),
    "a box": assign((ALL, slice(1, 4), slice(2, 6), slice(0, 3)), lambda x: x[:, :3, :4, 6:9]),
    "columns": assign((..., slice(4, 7)), lambda x: x[..., :3]),
    "a row of one map": assign((ALL, 2, -1), lambda x: x[:, 1, 0]),
    "all": assign(ALL, lambda x: x.sigmoid()),
    "what spreads": assign((ALL, slice(0, 2)), lambda x: x.mean(1, keepdim=True)),
    "added": add_to((ALL, slice(1, None)), lambda x: x[:, :5].sigmoid()),
    "a number added": add_to((ALL, 4, slice(2, 5)), lambda x: 1.5),
    "in place": lambda x: x[:, 1:3].mul_(0.5),
    "an activation in place": lambda x: F.relu(x[:, ::1, 2:], inplace=True),
    "a part of a part": a_part_of_a_part,
    "two ways to one part": two_ways_to_one_part,
    "a pile": a_pile,
    "a copy of chosen places": lambda x: x[:, [0, 2, 4]].add_(1.0),
    "steps that nobody reads of the whole": every_other,
}


def forward_of(write: Write) -> Callable[[object, Tensor], Tensor]:
    def forward(_: object, x: Tensor) -> Tensor:
        x = x * 1.25
        made = write(x)
        return (made if isinstance(made, Tensor) and made.shape[1] == 8 else x) * 3

    return forward


@pytest.mark.parametrize("name", WRITES)
def test_a_tensor_that_a_part_was_written_to(name: str) -> None:
    compiled = compiled_of(Forward(forward_of(WRITES[name])), (2, 3, 7, 9))
    assert not any(isinstance(each.function, Host) for each in compiled.naive.operators)
    check_values(compiled, 2e-6, orders=1)


def stale(x: Tensor) -> Tensor:
    other = x[:, 2:]
    x[:, 3] = 0.0
    return other * 2


def changed_behind(x: Tensor) -> Tensor:
    part, other = x[:, 2:], x.flatten(1)
    other.add_(1.0)
    part.mul_(2.0)
    return x


def every_second(x: Tensor) -> Tensor:
    x[:, ::2] = 0.0
    return x


def by_numbers(x: Tensor) -> Tensor:
    x[x > 0] = 0.0
    return x


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (stale, "changed in place"),
        (changed_behind, "changed in place"),
        (every_second, "a part of places in a row"),
        (by_numbers, "a part of places in a row"),
    ],
)
def test_what_cannot_be_followed_is_refused(function: Callable[[Tensor], Tensor], told: str) -> None:
    with pytest.raises(InputError, match=told):
        network_of(Forward(lambda _, x: function(x * 1.25)), ((2, 3, 7, 9),))
