"""SinkViews: what looks at one element only is done before elements are moved or joined, not behind that.

Behind a pool or a convolution it can be fused; behind a view or a concat it is a command of its own. A table has a column for each
channel, and goes along where the channels of the result are channels of the source as well.
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.compiler.network import Bytes, Network, channel_count, pack, unused_name
from nas.compiler.opt.rewrite.steps import Step, first_step, last_step, unrounded
from nas.compiler.tiling import roles
from nas.hw.spec import Processor
from nas.ir.command import Conv, Eltwise, Matmul, Tail
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Tensor


@dataclass(frozen=True)
class SinkViews:
    """view or concat then element-wise becomes element-wise then view or concat."""

    name: str = "sink_views"
    why: str = "behind a pool or a convolution the element-wise operator can be fused"

    def run(self, network: Network, processor: Processor) -> Network:
        del processor
        return _Sinking(network).result()


class _Sinking:
    """One walk over the operators; each that can goes as far back as it can."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._tensors, self._constants = dict(network.tensors), dict(network.constants)
        self._uses = {name: len(readers) for name, readers in network.users.items()}
        self._done: list[Operator] = []
        self._makers: dict[str, int] = {}

    def result(self) -> Network:
        for operator in self._network.operators:
            self._put(len(self._done), [operator])
            self._sink(len(self._done) - 1)
        network = self._network
        return Network(network.name, tuple(self._done), self._tensors, network.inputs, network.outputs, self._constants)

    def _put(self, place: int, operators: list[Operator]) -> None:
        """Operators in place of that at `place`, or at the end."""
        self._done[place : place + 1] = operators
        for index in range(place, len(self._done)):
            self._makers.update(dict.fromkeys(self._done[index].outputs, index))

    def _sink(self, place: int) -> None:
        operator = self._done[place]
        function, data = operator.function, operator.inputs[0] if operator.inputs else ""
        if not isinstance(function, Eltwise) or roles(function) not in (("data",), ("data", "table")):
            return
        before = self._makers.get(data)
        if before is None or self._uses[data] != 1 or self._tensors[data].role == "output":
            return
        if not function.tail.table and first_step(function.tail) < Step.ACTIVATION:
            return
        maker = self._done[before]
        if isinstance(maker.function, View):
            self._before_view(place, before, maker.function)
        elif isinstance(maker.function, Concat):
            self._before_concat(place, before)

    def _before_view(self, place: int, before: int, view: View) -> None:
        operator, maker = self._done[place], self._done[before]
        middle, source = operator.inputs[0], self._tensors[maker.inputs[0]]
        if view.stop or source.role == "input":
            return
        extra: tuple[str, ...] = ()
        if len(operator.inputs) > 1:
            columns = _columns(view, source.shape, self._tensors[middle].shape)
            if columns is None:
                return
            extra = (self._table(operator.inputs[1], columns),)
        assert isinstance(operator.function, Eltwise)
        # The tensor between the two holds other numbers from here on, so what was observed of its name does not hold for it.
        moved = unused_name(f"{operator.outputs[0]}.moved", self._tensors)
        self._tensors[moved] = Tensor(moved, source.shape, operator.function.tail.output)
        self._uses[moved] = 1
        del self._tensors[middle]
        self._put(before, [Operator(operator.layer, operator.function, (maker.inputs[0], *extra), (moved,))])
        self._put(place, [Operator(maker.layer, view, (moved,), operator.outputs)])
        self._sink(before)

    def _before_concat(self, place: int, before: int) -> None:
        """Only where each part can then be fused with what makes it."""
        operator, maker = self._done[place], self._done[before]
        middle, function = operator.inputs[0], operator.function
        assert isinstance(function, Eltwise)
        if not all(self._can_take(name, function.tail) for name in maker.inputs):
            return
        parts, start = [], 0
        inner = math.prod(self._tensors[middle].shape[2:-2])
        for name in maker.inputs:
            tensor = self._tensors[name]
            count = tensor.shape[1] * inner
            extra: tuple[str, ...] = ()
            if len(operator.inputs) > 1:
                is_of_one = self._tensors[operator.inputs[1]].shape[1] == 1
                columns = np.zeros(1, np.int64) if is_of_one else np.arange(start, start + count)
                extra = (self._table(operator.inputs[1], columns),)
            part = unused_name(f"{middle}.part", self._tensors)
            self._tensors[part] = Tensor(part, tensor.shape, function.tail.output)
            self._uses[part] = 1
            parts.append(Operator(operator.layer, function, (name, *extra), (part,)))
            start += count
        joined = Operator(maker.layer, maker.function, tuple(each.outputs[0] for each in parts), operator.outputs)
        del self._tensors[middle]
        self._put(place, [joined])
        self._put(before, parts)
        for each in parts:
            self._sink(self._makers[each.outputs[0]])

    def _can_take(self, name: str, tail: Tail) -> bool:
        """Whether what makes a tensor, for one reader alone, can do the steps of `tail` behind its own."""
        place = self._makers.get(name)
        if place is None or self._uses[name] != 1 or self._tensors[name].role != "feature":
            return False
        maker = self._done[place]
        if isinstance(maker.function, Concat):
            return all(self._can_take(each, tail) for each in maker.inputs)
        if isinstance(maker.function, View):
            shapes = self._tensors[maker.inputs[0]].shape, self._tensors[name].shape
            goes_along = not tail.table or _columns(maker.function, *shapes) is not None
            return not maker.function.stop and goes_along and self._can_take(maker.inputs[0], tail)
        if not isinstance(maker.function, Conv | Matmul | Eltwise) or not unrounded(maker.function.tail.output):
            return False
        first, last = first_step(tail), last_step(maker.function.tail)
        return first > last or first == last == Step.TABLE

    def _table(self, name: str, columns: NDArray[np.int64]) -> str:
        """A table of some columns of another one."""
        made = unused_name(name, self._tensors)
        self._tensors[made] = msgspec.structs.replace(self._tensors[name], name=made, shape=(2, len(columns)))
        if name in self._constants:
            stored: Bytes = self._constants[name]
            self._constants[made] = pack(stored.view(np.float32).reshape(2, -1)[:, columns], 32)
        return made


def _columns(view: View, source: tuple[int, ...], result: tuple[int, ...]) -> NDArray[np.int64] | None:
    """For every channel of a view's source that of its result; None where a channel of one is in several of the other."""
    order = _channel_axes(tuple(view.split[axis] for axis in view.order), channel_count(result))
    axes = _channel_axes(view.split, channel_count(source))
    if order is None or axes is None or any(axis >= axes for axis in view.order[:order]):
        return None
    of_result = np.arange(channel_count(result)).reshape([view.split[axis] for axis in view.order[:order]])
    kept = sorted(view.order[:order])
    of_result = of_result.transpose([view.order[:order].index(axis) for axis in kept])
    shape = [view.split[axis] if axis in kept else 1 for axis in range(axes)]
    return np.broadcast_to(of_result.reshape(shape), view.split[:axes]).reshape(-1)


def _channel_axes(sizes: tuple[int, ...], channels: int) -> int | None:
    """How many of the first axes make up so many channels, those of size 1 behind them included."""
    return max((count for count in range(len(sizes) + 1) if math.prod(sizes[:count]) == channels), default=None)
