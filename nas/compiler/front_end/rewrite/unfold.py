"""A trace in which the batch is folded together with other axes -> the same with the batch apart, where that can be.

Transformers of windows make a batch of all windows of all images, (images * windows, tokens, channels), and undo it behind their
layers. Engines know images; so such a value is followed as (images, windows, tokens, channels), from the reshape that folds to
the one that undoes it, and the functions between get one axis more:

    softmax(x, 2) -> softmax(x, 3)        permute(x, 2, 0, 1) -> permute(x, 3, 0, 1, 2)

The elements and their order are the same. What this page knows no rule for gets the value folded, by the host.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from nas.compiler.front_end.lowerings import arithmetic, pointwise, products
from nas.compiler.front_end.lowerings.pointwise import BATCH_NORMS
from nas.compiler.front_end.lowerings.shapes import DROPOUTS, REORDERINGS, RESHAPES
from nas.compiler.front_end.names import torch_functions
from nas.compiler.front_end.tracing.calls import Call, TracedForward, Value
from nas.compiler.front_end.tracing.signature import Arguments

_RESHAPES = frozenset(RESHAPES)
_Rule = Callable[["_Unfolding", Call, int], Call | None]


def unfolded(forward: TracedForward) -> TracedForward:
    """The same values; the folded ones with an axis more, under their numbers."""
    return _Unfolding(forward).result() if any(_folds(call) for call in forward.calls) else forward


def _folds(call: Call) -> bool:
    """Whether a reshape makes another batch."""
    if call.function not in _RESHAPES or not isinstance(call.arguments[0], Value):
        return False
    return call.arguments[0].shape[:1] != call.outputs[0].shape[:1]


class _Unfolding:
    """One walk over the calls. _places: the axis of each folded value that stands for two; _values: what they have become."""

    def __init__(self, forward: TracedForward) -> None:
        self._forward = forward
        self._images = forward.inputs[0].shape[0]
        self._calls: list[Call] = []
        self._places: dict[int, int] = {}
        self._values: dict[int, Value] = {}
        self._folded: dict[int, Value] = {}
        self._next = 1 + max((value.index for call in forward.calls for value in call.outputs), default=0)

    def result(self) -> TracedForward:
        for call in self._forward.calls:
            self._add(call)
        outputs = tuple(self._as_it_was(value, "output") for value in self._forward.outputs)
        return replace(self._forward, calls=tuple(self._calls), outputs=outputs)

    def _add(self, call: Call) -> None:
        places = {self._places[value.index] for value in call.read if value.index in self._places}
        if call.function in _RESHAPES and isinstance(call.arguments[0], Value) and places <= {0}:
            self._reshape(call, call.arguments[0])
            return
        if not places:
            self._calls.append(call)
            return
        rule = _RULES.get(call.function)
        changed = rule(self, call, places.pop()) if rule is not None and len(places) == 1 else None
        self._calls.append(self._on_folded(call) if changed is None else changed)

    def _reshape(self, call: Call, value: Value) -> None:
        """The batch stays with, or is taken from, the axis that it is folded into."""
        (output,) = call.outputs
        count = output.shape[0] if output.shape else 0
        source = self.now(value)
        if source.shape[:1] != (self._images,) or not count or count % self._images:
            self._calls.append(self._on_folded(call))
        elif count == self._images:
            self._calls.append(replace(call, arguments=(source, *call.arguments[1:])))
        else:
            self._calls.append(Call(torch.reshape, (source,), {}, (self.unfold(output, 0),), call.layer))

    def unfold(self, value: Value, place: int) -> Value:
        """From here on `value` is followed with the batch apart from what it is folded with at axis `place`."""
        count = value.shape[place] // self._images
        shape = (*value.shape[:place], self._images, count, *value.shape[place + 1 :])
        self._places[value.index] = place
        self._values[value.index] = replace(value, shape=shape)
        return self._values[value.index]

    def place(self, value: Value) -> int | None:
        return self._places.get(value.index)

    def now(self, value: Value) -> Value:
        return self._values.get(value.index, value)

    def new_value(self, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        self._next += 1
        return Value(self._next, shape, dtype)

    def call(self, call: Call) -> None:
        self._calls.append(call)

    def _on_folded(self, call: Call) -> Call:
        return _with_values(call, lambda value: self._as_it_was(value, call.layer))

    def _as_it_was(self, value: Value, layer: str) -> Value:
        """The folded value itself, for a reader that wants that."""
        if value.index not in self._values:
            return value
        if value.index not in self._folded:
            folded = self._folded[value.index] = self.new_value(value.shape, value.dtype)
            self._calls.append(Call(torch.reshape, (self._values[value.index], value.shape), {}, (folded,), layer))
        return self._folded[value.index]


def _with_values(call: Call, of: Callable[[Value], Value]) -> Call:
    """The call on other values."""

    def changed(structure: Any) -> Any:
        if isinstance(structure, Value):
            return of(structure)
        return tuple(map(changed, structure)) if isinstance(structure, list | tuple) else structure

    arguments = tuple(map(changed, call.arguments))
    return replace(call, arguments=arguments, keywords={name: changed(each) for name, each in call.keywords.items()})


def _alike(unfolding: _Unfolding, call: Call, place: int) -> Call | None:
    """Functions that take each element by itself. Constants count their axes from the last one: none may reach up to the batch's."""
    behind = len(call.outputs[0].shape) - place - 1
    for constant in (*call.arguments, *call.keywords.values()):
        if isinstance(constant, torch.Tensor) and any(
            size > 1 for size in constant.shape[: max(0, constant.dim() - behind)]
        ):
            return None
    return _of_the_same_axes(unfolding, call, place)


def _of_last_axes(axes: int, rule: _Rule) -> _Rule:
    """Functions that take the last axes by themselves; the batch's is none of them."""

    def of_last(unfolding: _Unfolding, call: Call, place: int) -> Call | None:
        return rule(unfolding, call, place) if place < len(call.outputs[0].shape) - axes else None

    return of_last


def _of_the_same_axes(unfolding: _Unfolding, call: Call, place: int) -> Call | None:
    rank = len(call.outputs[0].shape)
    if any(unfolding.place(value) != place or len(value.shape) != rank for value in call.read):
        return None
    return replace(
        _with_values(call, unfolding.now), outputs=tuple(unfolding.unfold(output, place) for output in call.outputs)
    )


def _along(signature: str) -> _Rule:
    """Functions of some axes, `dim`, which are counted anew; the batch's is none of them. Axes that go come from before or behind it."""

    def rule(unfolding: _Unfolding, call: Call, place: int) -> Call | None:
        a, value = Arguments(call, signature), call.arguments[0]
        axes = a.dim if isinstance(a.dim, tuple) else (a.dim,)
        if not isinstance(value, Value) or not all(isinstance(axis, int) for axis in axes):
            return None
        rank = len(value.shape)
        counted = [axis % rank for axis in axes]
        if place in counted:
            return None
        goes = len(call.outputs[0].shape) < rank
        after = place - sum(axis < place for axis in counted if goes)
        keywords = {name: given for name, given in vars(a).items() if name != "input" and given is not None}
        moved = tuple(axis + (axis > place) for axis in counted)
        keywords["dim"] = moved if isinstance(a.dim, tuple) else moved[0]
        outputs = tuple(unfolding.unfold(output, after) for output in call.outputs)
        return Call(call.function, (unfolding.now(value),), keywords, outputs, call.layer)

    return rule


def _reordered(unfolding: _Unfolding, call: Call, place: int) -> Call | None:
    value, order = Arguments(call, "input").input, REORDERINGS[call.function](call)
    if order is None:
        return None
    output = unfolding.unfold(call.outputs[0], order.index(place))
    return Call(torch.permute, (unfolding.now(value), _split(order, place)), {}, (output,), call.layer)


def _split(order: Iterable[int], place: int) -> tuple[int, ...]:
    """An order of axes in which one has become two."""
    found: list[int] = []
    for axis in order:
        found += [place, place + 1] if axis == place else [axis + (axis > place)]
    return tuple(found)


def _getitem(unfolding: _Unfolding, call: Call, place: int) -> Call | None:
    value, index = call.arguments
    if place == 0:
        index = index if isinstance(index, tuple) else (index,)
        if not isinstance(index[0], slice) or index[0] != slice(None):
            return None
        index = (slice(None), *index)
    elif place > 1 or type(index) is not int:
        return None
    output = unfolding.unfold(call.outputs[0], 0)
    return Call(call.function, (unfolding.now(value), index), {}, (output,), call.layer)


def _norm_of_rows(unfolding: _Unfolding, call: Call, place: int) -> Call | None:
    """A batch norm, whose channels are the second axis: they change places with what was folded."""
    value, output = call.arguments[0], call.outputs[0]
    if place or unfolding.place(value) is None:
        return None
    source, result = unfolding.now(value), unfolding.unfold(output, 0)
    order = (0, 2, 1, *range(3, len(source.shape)))
    shape = tuple(source.shape[axis] for axis in order)
    turned, normed = (unfolding.new_value(shape, value.dtype) for _ in range(2))
    unfolding.call(Call(torch.permute, (source, order), {}, (turned,), call.layer))
    unfolding.call(replace(call, arguments=(turned, *call.arguments[1:]), outputs=(normed,)))
    return Call(torch.permute, (normed, order), {}, (result,), call.layer)


_SOFTMAX = torch_functions("softmax", "Tensor.softmax", "nn.functional.softmax")
_SPLITS = torch_functions("split", "Tensor.split", "split_with_sizes", "Tensor.split_with_sizes")
_REDUCTIONS = torch_functions("mean", "Tensor.mean", "sum", "Tensor.sum", "amax", "Tensor.amax")
# Those that leave a tensor as it is whatever its shape.
_COPIES = torch_functions("clone", "Tensor.clone", "Tensor.contiguous", "Tensor.detach", "nn.functional.identity")


_TABLE: list[tuple[_Rule, Iterable[Any]]] = [
    (_alike, [*_COPIES, *DROPOUTS, *arithmetic.LOWERINGS, *pointwise.LOWERINGS]),
    (_of_last_axes(1, _of_the_same_axes), [F.linear, F.layer_norm]),
    (_of_last_axes(2, _alike), products.LOWERINGS),
    (_along("input dim=None _stacklevel=3 dtype=None"), _SOFTMAX),
    (_along("input p=2.0 dim=1 eps=1e-12"), torch_functions("nn.functional.normalize")),
    (_along("input chunks dim=0"), torch_functions("chunk", "Tensor.chunk")),
    (_along("input sizes dim=0"), [*_SPLITS, torch.functional.split]),
    (_along("input dim=0"), torch_functions("unbind", "Tensor.unbind")),
    (_along("input dim=None keepdim=False dtype=None"), _REDUCTIONS),
    (_reordered, REORDERINGS),
    (_getitem, torch_functions("Tensor.__getitem__")),
    (_norm_of_rows, BATCH_NORMS),
]
_RULES: dict[Any, _Rule] = {function: rule for rule, functions in _TABLE for function in functions}
