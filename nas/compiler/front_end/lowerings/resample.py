"""Lowerings of functions that make each place along an axis a weighted sum of its places: resizing, and pools that don't divide.

Axes are resized one after the other, each by a matrix, as a 1x1 convolution whose channels are that axis. The matrix is what
torch makes of an identity, so that all of its modes, corners and scales are known here without a formula.
"""

from typing import Any

import torch
import torch.nn.functional as F

from nas.compiler.front_end.lowerings.builder import NetworkBuilder
from nas.compiler.front_end.lowerings.layers import summed_along
from nas.compiler.front_end.lowerings.pointwise import Lowering
from nas.compiler.front_end.lowerings.shapes import identity
from nas.compiler.front_end.lowerings.slicing import resized
from nas.compiler.front_end.tracing.calls import Call, Value
from nas.compiler.front_end.tracing.signature import Arguments

_FIRST_SIDE = 2  # behind the batch and the channels
# torch's names for volumes and sequences, under the name for maps.
_MODES = {"linear": "bilinear", "trilinear": "bilinear"}

Weights = dict[int, torch.Tensor]


def _interpolate(builder: NetworkBuilder, call: Call) -> bool:
    a = Arguments(
        call,
        "input size=None scale_factor=None mode='nearest' align_corners=None recompute_scale_factor=None antialias=False",
    )
    if not isinstance(a.input, Value) or len(a.input.shape) <= _FIRST_SIDE:
        return False
    options: dict[str, Any] = {
        "mode": _MODES.get(a.mode, a.mode),
        "align_corners": a.align_corners,
        "recompute_scale_factor": a.recompute_scale_factor,
        "antialias": a.antialias,
    }
    weights: Weights = {}
    for side, have in enumerate(a.input.shape[_FIRST_SIDE:]):
        wanted, scale = (each[side] if isinstance(each, tuple) else each for each in (a.size, a.scale_factor))
        given: dict[str, Any] = {"scale_factor": (1.0, scale)} if wanted is None else {"size": (have, wanted)}
        weights[_FIRST_SIDE + side] = F.interpolate(torch.eye(have)[None, None], **given, **options)[0, 0]
    return _resampled(builder, call, a.input, weights)


def uneven_means(builder: NetworkBuilder, call: Call) -> bool:
    """The means of windows of unlike sizes: an adaptive pool whose sides don't divide those of its input."""
    value, wanted = Arguments(call, "input output_size").input, call.outputs[0].shape
    sides = range(_FIRST_SIDE, len(wanted))
    weights = {axis: F.adaptive_avg_pool1d(torch.eye(value.shape[axis])[None], wanted[axis])[0] for axis in sides}
    return _resampled(builder, call, value, weights)


def _resampled(builder: NetworkBuilder, call: Call, whole: Value, weights: Weights) -> bool:
    """weights: for each axis (places before, places after). What makes an axis shortest comes first, then what is stored in rows."""
    value = whole
    weights = {axis: each for axis, each in weights.items() if not torch.equal(each, torch.eye(len(each)))}
    for axis in sorted(weights, key=lambda axis: (weights[axis].shape[1] / weights[axis].shape[0], -axis)):
        matrix = builder.structural(weights[axis].T.contiguous())
        made = builder.new_value(resized(value.shape, axis, len(matrix)))
        summed_along(builder, value, axis, (matrix, None), made, call.layer)
        if bool((matrix >= 0).all()):
            builder.within(made, whole)
        value = made
    return identity(builder, Call(call.function, (value,), {}, call.outputs, call.layer))


LOWERINGS: dict[Any, Lowering] = {F.interpolate: _interpolate}
