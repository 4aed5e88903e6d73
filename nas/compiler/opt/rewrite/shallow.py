"""Shallow: operators with deep inputs are cut along what they sum over where their tiles are quicker so.

A tile reads all channels of the input. Where a few rows of them and the weights of as many outputs as the array has columns
fill the sram, either columns stay idle, or nothing is loaded while the engine works. Parts that sum over fewer channels
(`compiler.parts.depth`) have neither trouble; but their sums, unless they are small enough to stay on the chip, go through the
dram. Which of both takes longer is estimated for each operator by itself; whether the program gains by it, its simulation tells.
"""

from dataclasses import dataclass, replace

import msgspec

from nas.compiler.network import Network
from nas.compiler.opt.layout.operands import layout_of
from nas.compiler.opt.plan.cut import streamed_cycles
from nas.compiler.parts.depth import can_be_cut, cut_along_depth, depth_step, tile_bytes
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.program import Operator
from nas.ir.tensor import Tensor

# Operators of which so many tiles as wide as the array fit are let be.
_GENERATIONS = 3
_HALVINGS = 4
_HELD = 1 / 2  # of the sram, the most that sums take of it


@dataclass(frozen=True)
class Shallow:
    """halvings: so often, at most, the depth of a part is halved."""

    halvings: int = _HALVINGS
    name: str = "shallow"
    why: str = "of deep inputs no tile as wide as the array fits beside the next one"

    def run(self, network: Network, processor: Processor) -> Network:
        found: dict[tuple[object, ...], int] = {}
        sizes: dict[int, int] = {}
        for index, operator in enumerate(network.operators):
            if _is_deep(network, operator, processor):
                tensors = [network.tensors[name] for name in (*operator.inputs, *operator.outputs)]
                kind = (operator.function, *((each.shape, each.format, each.role) for each in tensors))
                if kind not in found:
                    found[kind] = _best_size(_alone(network, operator), processor, self.halvings)
                if found[kind]:
                    sizes[index] = found[kind]
        return cut_along_depth(network, sizes)


def _is_deep(network: Network, operator: Operator, processor: Processor) -> bool:
    """Whether it can be cut, and not so many of its tiles fit."""
    if not can_be_cut(network, operator):
        return False
    return _GENERATIONS * tile_bytes(network, operator, processor.matrix.columns) > processor.sram.size_bytes


def _best_size(alone: Network, processor: Processor, most: int) -> int:
    """The channels that a part of the one operator of `alone` sums over; 0 where it is better whole."""
    data, weight = (alone.tensors[name] for name in alone.operators[0].inputs[:2])
    grid = max(depth_step(data, weight), processor.matrix.rows)
    best, best_cycles = 0, _cycles(alone, processor)
    for halvings in range(1, most + 1):
        size = ceil_div(ceil_div(weight.shape[1], 1 << halvings), grid) * grid
        if size < weight.shape[1]:
            cycles = _cycles(cut_along_depth(alone, {0: size}), processor)
            if cycles < best_cycles:
                best, best_cycles = size, cycles
    return best


def _cycles(network: Network, processor: Processor) -> float:
    layout = layout_of(network, spread_for=processor)
    placed = [each for each in layout.placed if each is not None]
    sums = {name: buffer.size_bytes for name, buffer in layout.storage.buffers.items() if not buffer.in_dram}
    held_bytes = max(
        sum(sums.get(name, 0) for name in {home.memory for home in each.homes.values()}) for each in placed
    )
    if held_bytes > _HELD * processor.sram.size_bytes:
        sums, held_bytes = {}, 0
    return sum(streamed_cycles(each.operands, processor, each.on_chip(sums.keys()), held_bytes) for each in placed)


def _alone(network: Network, operator: Operator) -> Network:
    """A network of one operator, without numbers."""
    tensors: dict[str, Tensor] = {}
    for name in operator.inputs:
        known = network.tensors[name]
        tensors[name] = known if known.role == "constant" else msgspec.structs.replace(known, role="input")
    for name in operator.outputs:
        tensors[name] = msgspec.structs.replace(network.tensors[name], role="output")
    inputs = tuple(name for name, tensor in tensors.items() if tensor.role == "input")
    return replace(
        network, operators=(operator,), tensors=tensors, inputs=inputs, outputs=operator.outputs, constants={}
    )
