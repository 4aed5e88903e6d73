"""Bands: a product with a matrix that is zero but for a band is done in parts, each of which reads what its outputs depend on.

Resizing an axis is such a product: each place is a sum of two or four neighbours. An array as wide as a part takes the weights of a
part in one go where the whole would take those of all inputs, nearly all of them zeros.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.compiler.network import Bytes, Network
from nas.compiler.parts.rewriting import Rewriting, resized
from nas.compiler.tiling import roles
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Conv, Window
from nas.ir.program import Concat, Operator
from nas.ir.tensor import Tensor

Part = tuple[tuple[int, int], tuple[int, int]]  # outputs, and the inputs that they depend on


@dataclass(frozen=True)
class Bands:
    """most: of the blocks of weights that the array would take in, as many as may be left."""

    most: float = 0.6
    name: str = "bands"
    why: str = "a block of weights that are all zero costs as much time as any other"

    def run(self, network: Network, processor: Processor) -> Network:
        parts = {
            index: found
            for index, operator in enumerate(network.operators)
            if (found := self._parts(network, operator, processor))
        }
        if not parts:
            return network
        cutting = _Cutting(dict(network.tensors), dict(network.constants), [])
        for index, operator in enumerate(network.operators):
            if index in parts:
                cutting.cut(operator, parts[index])
            else:
                cutting.operators.append(operator)
        return cutting.result(network)

    def _parts(self, network: Network, operator: Operator, processor: Processor) -> list[Part]:
        """The parts of an operator, if it is better in parts."""
        function = operator.function
        if not isinstance(function, Conv) or function.groups > 1 or function.window != Window():
            return []
        if function.tail.pool is not None or set(roles(function)) - {"data", "weight", "table"}:
            return []
        weight, stored = network.tensors[operator.inputs[1]], network.constants.get(operator.inputs[1])
        used = None if stored is None else _used(weight, stored)
        if used is None or used[0, -1] or used[-1, 0]:  # no band; most matrices are none, and there are many
            return []
        outputs, inputs = used.shape
        rows, columns = processor.matrix.rows, processor.matrix.columns
        parts = []
        for start in range(0, outputs, columns):
            stop = min(start + columns, outputs)
            (places,) = np.nonzero(used[start:stop].any(0))
            first, last = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
            parts.append(((start, stop), (first, last + 1)))
        blocks = sum(ceil_div(last - first, rows) for _, (first, last) in parts)
        return parts if blocks <= self.most * len(parts) * ceil_div(inputs, rows) else []


def _used(weight: Tensor, stored: Bytes) -> NDArray[np.bool_] | None:
    """Which weights are no zeros, (outputs, inputs); None of such that have no byte of their own."""
    form, shape = weight.format, weight.shape[:2]
    if form.bits < 8:
        return None
    if form.is_code:
        codes = stored.view({8: np.uint8, 16: np.uint16, 32: np.int32}[form.bits]).reshape(shape)
        return np.asarray(form.multiplier * codes.astype(np.int64) + form.offset != 0)
    words = stored.view({16: np.uint16, 32: np.uint32}[form.bits]).reshape(shape)
    return np.asarray(words.astype(np.int64) << 1 & (1 << form.bits) - 1 != 0)  # without the sign


class _Cutting(Rewriting):
    def cut(self, operator: Operator, parts: list[Part]) -> None:
        """Add the parts of an operator and what joins them."""
        data, weight, *table = operator.inputs
        (name,) = operator.outputs
        made = []
        for outputs, inputs in parts:
            source = self.part(operator.layer, data, *inputs)
            tables = [self.constant_part(each, (0, 2), outputs) for each in table]
            constants = [self.constant_part(weight, outputs, inputs), *tables]
            result = self.new(f"{name}.part", resized(self.tensors[name], outputs[1] - outputs[0]))
            self.operators.append(Operator(operator.layer, operator.function, (source, *constants), (result,)))
            made.append(result)
        self.operators.append(Operator(operator.layer, Concat(), tuple(made), (name,)))
