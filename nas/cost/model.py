"""What ONE network costs on one processor: the question every search asks, and the shape of its answer."""

from typing import Protocol

import msgspec
from torch import nn

from nas.compiler.inputs import InputShape
from nas.core.errors import Violation


class Cost(msgspec.Struct, frozen=True):
    """The price of one inference.

    latency_s, cycles: end to end on the processor's clock; energy_pj: of all commands and of the time;
    peak_sram_bytes: the highest on-chip address in use; dram_bytes: read and written off chip;
    parameters: a count; parameter_bytes: as packed in memory; macs: multiply-adds.
    """

    latency_s: float
    cycles: int
    energy_pj: float
    peak_sram_bytes: int
    dram_bytes: int
    parameters: int
    parameter_bytes: int
    macs: int


class CostModel(Protocol):
    """Anything that can price a network. Deterministic: the same network and shape, the same answer."""

    @property
    def name(self) -> str:
        """In words for a report, e.g. "simulated"."""
        ...

    def cost(self, network: nn.Module, input_shape: InputShape) -> Cost | Violation:
        """Price `network` for an input of `input_shape`, such as (batch, channels, height, width), or for inputs of several; a `Violation` if it can't run."""
        ...
