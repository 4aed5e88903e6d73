"""What a trace is made of: calls of functions of torch, and what they read and make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from nas.compiler.front_end.nests import found_in


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: its number in the trace, its shape and its kind of number."""

    index: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Codes:
    """A constant known by its integers: number = scale * (multiplier * code + offset)."""

    codes: torch.Tensor
    bits: int
    scale: float
    multiplier: int
    offset: int

    @property
    def shape(self) -> torch.Size:
        return self.codes.shape


@dataclass(frozen=True)
class Quantise:
    """Stands as the function of a call: the activation quantiser with this integer format."""

    bits: int
    scale: float
    zero: int


@dataclass(frozen=True)
class Call:
    """One function on traced values. Arguments hold `Value`, `Codes`, constant tensors and plain Python values."""

    function: Callable[..., Any] | Quantise
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    outputs: tuple[Value, ...]
    layer: str

    @cached_property
    def read(self) -> list[Value]:
        """All the traced values among the arguments, lists of them included."""
        return found_in((self.arguments, self.keywords), Value)


@dataclass(frozen=True)
class TracedForward:
    """All calls in order; inputs and outputs of the network.

    input_names: as `forward` calls its arguments; "input" where there is one. output_names: those that the module
    gives, where it returns a mapping of names to tensors.
    """

    calls: tuple[Call, ...]
    inputs: tuple[Value, ...]
    input_names: tuple[str, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...] = ()
