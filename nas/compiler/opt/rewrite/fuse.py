"""Fuse: an element-wise operator, or a max pool, becomes the tail of the operator that makes its input.

conv + batch norm + sum + activation + quantiser + max pool is one command then, and what was between them never exists.
A tail has a fixed order of steps, so an operator joins only if its steps come after those that are there already; two
tables in a row are multiplied into one.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from nas.compiler.network import Network, pack, unused_name
from nas.compiler.opt.engines.spread import is_better_unpooled
from nas.compiler.opt.rewrite.steps import Step, first_step, last_step, unrounded
from nas.compiler.tiling import roles
from nas.hw.spec import Processor
from nas.ir.command import Conv, Eltwise, Matmul, Pool, Tail
from nas.ir.program import Operator
from nas.ir.tensor import FLOAT32, Tensor

_STEPS = {"factor": Step.MULTIPLY, "addend": Step.ADD}


@dataclass(frozen=True)
class Fuse:
    """max_pool: also take max pools into the tail of a convolution; in_blocks: not where it is faster without (see `opt.engines.spread`)."""

    max_pool: bool = True
    in_blocks: bool = True
    name: str = "fuse"
    why: str = "every tensor that no longer exists saves a trip through memory"

    def run(self, network: Network, processor: Processor) -> Network:
        return _Fusion(network, processor, self).result()


class _Fusion:
    """One walk over the operators; a fused operator stands where the second of the two stood."""

    def __init__(self, network: Network, processor: Processor, options: Fuse) -> None:
        self.network, self.processor, self.options = network, processor, options
        self.operators: list[Operator | None] = list(network.operators)
        self.tensors = dict(network.tensors)
        self.constants = dict(network.constants)
        self.makers = {name: index for index, operator in enumerate(network.operators) for name in operator.outputs}
        self.uses: dict[str, int] = {}
        for operator in network.operators:
            for name in operator.inputs:
                self.uses[name] = self.uses.get(name, 0) + 1

    def result(self) -> Network:
        for index, operator in enumerate(self.network.operators):
            if isinstance(operator.function, Eltwise):
                self._take_eltwise(index, operator)
            elif isinstance(operator.function, Pool) and self.options.max_pool:
                self._take_max_pool(index, operator)
        operators = tuple(operator for operator in self.operators if operator is not None)
        return Network(
            self.network.name, operators, self.tensors, self.network.inputs, self.network.outputs, self.constants
        )

    def _take_eltwise(self, index: int, operator: Operator) -> None:
        function = operator.function
        assert isinstance(function, Eltwise)
        reads = dict(zip(roles(function), operator.inputs, strict=True))
        candidates = [(reads, function.tail)]
        # A sum or a product may join either of its sides, if both are whole; the other side is then added to it.
        for role, field in (("factor", "multiply"), ("addend", "add")):
            is_first = first_step(function.tail) == _STEPS[role]
            if is_first and self.tensors[reads[role]].shape == self.tensors[reads["data"]].shape:
                swapped = msgspec.structs.replace(function.tail, **{field: function.input})
                candidates.append(({**reads, "data": reads[role], role: reads["data"]}, swapped))
        candidates.sort(key=lambda candidate: self.makers.get(candidate[0]["data"], -1), reverse=True)
        for names, tail in candidates:
            maker = self._maker(names["data"])
            if maker is not None and self._join(index, operator, maker, tail, names):
                return

    def _maker(self, name: str) -> int | None:
        """The operator that makes `name` for one reader alone, or None."""
        index = self.makers.get(name)
        if index is None or self.uses[name] != 1 or self.tensors[name].role == "output":
            return None
        return index

    def _join(self, index: int, operator: Operator, maker_index: int, tail: Tail, extra: dict[str, str]) -> bool:
        maker = self.operators[maker_index]
        assert maker is not None
        function = maker.function
        if isinstance(function, Pool):
            return self._join_mean(index, operator, maker_index, tail)
        if not isinstance(function, Conv | Matmul | Eltwise) or not unrounded(function.tail.output):
            return False
        if function.tail.add is not None and function.tail.output.is_code:
            return False  # sums are added up in integers, which a longer tail would not do
        names = dict(zip(roles(function), maker.inputs, strict=True))
        first, last = first_step(tail), last_step(function.tail)
        if first <= last:
            if not (tail.table and last == Step.TABLE):
                return False
            names["table"] = self._product(names["table"], extra["table"], operator.layer)
            extra = {**extra, "table": names["table"]}
        names.update({role: extra[role] for role in ("table", "factor", "addend") if role in extra})
        joined = Tail(
            table=function.tail.table or tail.table,
            multiply=tail.multiply or function.tail.multiply,
            add=tail.add or function.tail.add,
            activation=tail.activation if tail.activation != "none" else function.tail.activation,
            low=tail.low if tail.activation != "none" else function.tail.low,
            high=tail.high if tail.activation != "none" else function.tail.high,
            output=tail.output,
        )
        fused = msgspec.structs.replace(function, tail=joined)
        inputs = tuple(names[role] for role in roles(fused))
        self._put(index, maker_index, Operator(maker.layer, fused, inputs, operator.outputs))
        return True

    def _join_mean(self, index: int, operator: Operator, maker_index: int, tail: Tail) -> bool:
        """A mean pool can encode its result, and nothing else."""
        maker = self.operators[maker_index]
        assert maker is not None
        assert isinstance(maker.function, Pool)
        if maker.function.kind != "mean" or maker.function.output != FLOAT32 or first_step(tail) < Step.ENCODE:
            return False
        fused = msgspec.structs.replace(maker.function, output=tail.output)
        self._put(index, maker_index, Operator(maker.layer, fused, maker.inputs, operator.outputs))
        return True

    def _take_max_pool(self, index: int, operator: Operator) -> None:
        pool = operator.function
        assert isinstance(pool, Pool)
        maker_index = self._maker(operator.inputs[0])
        if pool.kind != "max" or pool.window.dilation != (1, 1) or maker_index is None:
            return
        maker = self.operators[maker_index]
        assert maker is not None
        if not isinstance(maker.function, Conv) or maker.function.tail.pool is not None:
            return
        source, weights = (self.tensors[name] for name in maker.inputs[:2])
        if self.options.in_blocks and is_better_unpooled(
            maker.function, weights, source.shape[-2:], pool.window, self.processor
        ):
            return
        tail = msgspec.structs.replace(maker.function.tail, pool=pool.window)
        fused = msgspec.structs.replace(maker.function, tail=tail)
        self._put(index, maker_index, Operator(maker.layer, fused, maker.inputs, operator.outputs))

    def _put(self, index: int, maker_index: int, fused: Operator) -> None:
        self.operators[index], self.operators[maker_index] = fused, None
        self.makers[fused.outputs[0]] = index

    def _product(self, first: str, second: str, layer: str) -> str:
        """The table that does `first` and then `second`."""
        name = unused_name(f"{layer}.folded", self.tensors)
        self.tensors[name] = Tensor(name, self.tensors[first].shape, FLOAT32, "constant")
        if first in self.constants and second in self.constants:
            shape = self.tensors[first].shape
            a, b = (
                self.constants[table].view(np.float32).reshape(shape).astype(np.float64) for table in (first, second)
            )
            self.constants[name] = pack(np.stack([a[0] * b[0], a[1] * b[0] + b[1]]).astype(np.float32), 32)
        return name
