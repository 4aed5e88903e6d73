"""The numbers that a network of floats is compiled to: as it is, bfloat16, or 8-bit integers after training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from nas.compiler.front_end.calibrate import Batch, observed_ranges
from nas.compiler.front_end.lower import lowered, network_of
from nas.compiler.inputs import InputShape, Shape, shapes_of
from nas.compiler.network import Network
from nas.compiler.opt.rewrite.branches import JoinBranches
from nas.compiler.opt.rewrite.fuse import Fuse
from nas.compiler.opt.rewrite.sink import SinkViews
from nas.compiler.passes import Pass, run_passes
from nas.compiler.recode import as_bfloat16, quantised
from nas.core.errors import InputError, suggestion
from nas.core.seeding import stream
from nas.hw.spec import Processor

Bits = Literal["float", "bfloat16", "int8"]
# What runs within one command is never rounded, so that has to be known before formats are chosen. A maximum can be taken before or
# after rounding.
_BEFORE: tuple[Pass, ...] = (SinkViews(), Fuse(max_pool=False))
_BEFORE_BYTES: tuple[Pass, ...] = (*_BEFORE, JoinBranches(in_bytes=True))
_ANY_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class Precision:
    """bits: of weights and activations that no quantiser of the network's own has rounded.

    batches: inputs that show the ranges of activations for int8, each a tensor, or a tuple of one for each argument; none: seeded
    pixels. percentile: of the numbers that a range is to hold on either side.
    """

    bits: Bits = "float"
    batches: Sequence[Batch] = ()
    percentile: float = 100.0

    def __post_init__(self) -> None:
        known = get_args(Bits)
        if self.bits not in known:
            raise InputError("precision", "bits", ", ".join(known), self.bits, suggestion(self.bits, known))


AS_IT_IS = Precision()


def precision_named(name: str, field: str) -> Precision:
    """The precision that a configuration means: "none" leaves floats as they are. InputError for an unknown name."""
    known: dict[str, Bits] = {"none": "float", "bfloat16": "bfloat16", "int8": "int8"}
    if name not in known:
        raise InputError(field, "", " or ".join(known), repr(name), suggestion(str(name), known))
    return Precision(known[name])


def network_in(
    module: nn.Module, input_shape: InputShape, processor: Processor, precision: Precision, name: str = ""
) -> Network:
    """`module` as a network for an input of `input_shape` (batch first), or inputs of several, in these numbers."""
    if any(parameter.device.type == "meta" for parameter in module.parameters()):
        return network_to_price(module, input_shape, processor, precision.bits, name)
    network = network_of(module, shapes_of(input_shape), name)
    if precision.bits == "float":
        return network
    if precision.bits == "bfloat16":
        return as_bfloat16(run_passes(_BEFORE, network, processor))
    network = run_passes(_BEFORE_BYTES, network, processor)
    batches = list(precision.batches) or _pixels(shapes_of(input_shape))
    return quantised(network, observed_ranges(module, batches, precision.percentile))


def network_to_price(
    module: nn.Module, input_shape: InputShape, processor: Processor, bits: Bits, name: str = ""
) -> Network:
    """As `network_in`, but without the bytes of weights, and with one range for all that has one: no price asks them."""
    network, builder = lowered(module, shapes_of(input_shape), name)
    network = replace(network, constants=builder.structure)
    if bits == "float":
        return network
    if bits == "bfloat16":
        return as_bfloat16(run_passes(_BEFORE, network, processor))
    network = run_passes(_BEFORE_BYTES, network, processor)
    return quantised(network, {tensor: _ANY_RANGE for tensors in builder.meanings().values() for tensor in tensors})


def _pixels(shapes: tuple[Shape, ...]) -> list[tuple[torch.Tensor, ...]]:
    """At least two seeded images, as the ground truth's are; a forward may take one at a time."""
    count, generator = 2 if any(shape[0] == 1 for shape in shapes) else 1, stream(0, "calibration")
    drawn = [(generator.integers(0, 256, (count, *shape)) / 255.0).astype(np.float32) for shape in shapes]
    return [tuple(torch.from_numpy(pixels[place]) for pixels in drawn) for place in range(count)]
