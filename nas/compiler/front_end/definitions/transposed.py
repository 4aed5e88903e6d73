"""Transposed convolutions: plain ones, whose outputs are put between one another.

With a step of s, the outputs o = s m + r of each phase r = 0..s-1 are a convolution with a step of 1: the output o of a padding p
sums, over taps t of the kernel and inputs i with s i + t = o + p, weight[t] x[i]. Those t are every s-th one, and the inputs
follow one another backwards. Where all phases see the same inputs, which is so where neither kernel nor padding leaves a rest,
they are the outputs of one convolution; else each is one by itself. (Shi et al., arXiv 1609.07009.)
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.compiler.front_end.definitions.rearranged import interleaved
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.sides import per_axis
from nas.core.units import ceil_div

Definition = Callable[[], Tensor]

_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}


@dataclass(frozen=True)
class _Side:
    """One axis of a transposed convolution: inputs before, outputs after it."""

    before: int
    after: int
    kernel: int
    step: int
    padding: int

    @property
    def taps(self) -> int:
        """Of one phase, at most."""
        return ceil_div(self.kernel, self.step)

    @property
    def phases_are_alike(self) -> bool:
        """Whether all phases have as many taps, of the same inputs, and as many outputs."""
        return not (self.kernel % self.step or self.padding % self.step or self.after % self.step)

    def inputs(self, phase: int) -> tuple[int, int, int]:
        """(the first tap of a phase, inputs that its first output needs before the first one, and its last behind the last)."""
        ahead, first = divmod(phase + self.padding, self.step)
        taps = max(1, ceil_div(self.kernel - first, self.step))
        return first, taps - 1 - ahead, ceil_div(self.after, self.step) + ahead - self.before


def _of_dimensions(count: int) -> Callable[..., Definition | None]:
    def make(input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Definition | None:
        given = {**_DEFAULTS, **dict(zip(_DEFAULTS, args, strict=False)), **kwargs}
        each = (per_axis(given[name], count) for name in ("stride", "padding", "output_padding", "dilation"))
        steps, borders, more, spread = each
        if input.dim() != count + 2 or any(step != 1 for step in spread):
            return None
        sides = [
            _Side(size, (size - 1) * step - 2 * border + kernel + extra, kernel, step, border)
            for size, kernel, step, border, extra in zip(
                input.shape[2:], weight.shape[2:], steps, borders, more, strict=True
            )
        ]
        return _Transposed(input, weight, given["bias"], given["groups"], tuple(sides)).result

    return make


@dataclass(frozen=True)
class _Transposed:
    input: Tensor
    weight: Tensor
    bias: Tensor | None
    groups: int
    sides: tuple[_Side, ...]

    def result(self) -> Tensor:
        factors = [side.step for side in self.sides]
        if all(side.phases_are_alike for side in self.sides):
            repeated = None if self.bias is None else self.bias.repeat_interleave(math.prod(factors))
            together = self._convolved([0] * len(factors), self._all_taps, repeated)
            return interleaved(together.unflatten(1, (-1, *factors)), len(factors))
        phases = list(itertools.product(*(range(factor) for factor in factors)))
        made = [self._convolved(phase, self._taps_of(phase), self.bias) for phase in phases]
        joined = interleaved(torch.stack(made, 2).unflatten(2, factors), len(factors))
        for axis, side in enumerate(self.sides, 2):
            joined = joined.narrow(axis, 0, side.after) if joined.shape[axis] > side.after else joined
        return joined

    def _convolved(self, phase: Sequence[int], weight: Tensor, bias: Tensor | None) -> Tensor:
        value = self.input
        zeros: list[int] = []
        for axis, (side, place) in enumerate(zip(self.sides, phase, strict=True), 2):
            _, before, behind = side.inputs(place)
            start, stop = max(0, -before), side.before + min(0, behind)
            if stop - start < side.before:
                value = value.narrow(axis, start, stop - start)
            zeros = [max(0, before), max(0, behind), *zeros]
        value = F.pad(value, zeros) if any(zeros) else value
        return _CONVOLUTIONS[len(self.sides)](value, weight, bias, groups=self.groups)

    @cached_property
    def _by_group(self) -> Tensor:
        """(groups, inputs of one, outputs of one, *kernel)."""
        inputs, outputs, *kernel = self.weight.shape
        return self.weight.reshape(self.groups, inputs // self.groups, outputs, *kernel)

    @cached_property
    def _all_taps(self) -> Tensor:
        """Those of all phases, of each output one behind the other: (outputs x phases, inputs of a group, *taps)."""
        split = self._by_group.reshape(
            *self._by_group.shape[:3], *(size for side in self.sides for size in (side.taps, side.step))
        )
        count = len(self.sides)
        taps, phases = [3 + 2 * side for side in range(count)], [4 + 2 * side for side in range(count)]
        return self._as_weight(split.permute(0, 2, *phases, 1, *taps))

    def _taps_of(self, phase: Sequence[int]) -> Tensor:
        """Those of one phase; one of zero where it has none."""
        taken = self._by_group
        for axis, (side, place) in enumerate(zip(self.sides, phase, strict=True), 3):
            first = side.inputs(place)[0]
            places = range(first, side.kernel, side.step)
            taken = taken[(slice(None),) * axis + (slice(first, None, side.step),)]
            if not places:
                taken = torch.zeros_like(self._by_group.narrow(axis, 0, 1)).expand(
                    *taken.shape[:axis], 1, *taken.shape[axis + 1 :]
                )
        return self._as_weight(taken.transpose(1, 2))

    def _as_weight(self, taps: Tensor) -> Tensor:
        """(groups, outputs..., inputs, *taps) as a convolution takes it, which goes the other way along its taps."""
        count = len(self.sides)
        flat = taps.reshape(-1, *taps.shape[-1 - count :])
        return flat.flip(*range(2, 2 + count))


MAKERS: dict[Any, Callable[..., Definition | None]] = {
    **dict.fromkeys([F.conv_transpose1d, *torch_functions("conv_transpose1d")], _of_dimensions(1)),
    **dict.fromkeys([F.conv_transpose2d, *torch_functions("conv_transpose2d")], _of_dimensions(2)),
}
