"""One run of a network -> for every tensor in it, which channel each of its elements comes from.

The network runs once, and after each operation of PyTorch's core a rule of `rules` says what it did to the channels: moving
data moves them, adding two maps ties theirs, a convolution ends its input's and begins its weight's. What no rule covers
keeps its channels whole. A tensor carries one array of atoms of its own shape, a weight two: of its rows, of its columns.
"""

# mypy: allow-untyped-calls

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten
from torch.utils.module_tracker import ModuleTracker

from nas.quota.channels.labels import Atoms, Ints
from nas.quota.channels.rules import Call, Labels, rule_of
from nas.quota.channels.spread import along, short


class _SizesAsWritten(TorchFunctionMode):
    """Inside of it a split into parts of a size is one with a list of sizes. In PyTorch's core it would look like one into so many
    parts, which may become smaller; a size is a number of the network's code, and stays.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.split, Tensor.split):
            return _split(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _split(tensor: Tensor, size: int | Sequence[int], dim: int = 0) -> Any:
    whole = tensor.shape[dim]
    if isinstance(size, int) and 0 < size < whole:
        size = [min(size, whole - at) for at in range(0, whole, size)]
    return tensor.split(size, dim)


class Written(NamedTuple):
    """Numbers of one call: the sizes of a view, the scales of an operation; fixed: the places of those that must be the same where
    there are fewer channels.
    """

    numbers: tuple[float, ...]
    fixed: tuple[int, ...]


class Provenance(TorchDispatchMode):
    """Watches a run. atoms: of all parameters and buffers of `network`; axes: their labelled axes by name; written: the numbers in
    the network's code that act on channels, by the number of the call.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.atoms = Atoms()
        self.axes: dict[str, dict[int, Ints]] = {}
        self.written: dict[int, list[Written]] = {}
        self._calls = 0
        self._names = {id(tensor): name for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
        self._weights = set(self._names)  # ids of what is computed from parameters alone
        self._labels: dict[int, Labels] = {}
        # Memory and shape of what has another's shape, and nothing else of it: torch hands out such tensors under a new id.
        self._blank: set[tuple[int, Size]] = set()
        self._alive: list[Tensor] = []  # an id is a name only as long as its tensor lives
        self._modules, self._sizes = ModuleTracker(), _SizesAsWritten()

    def __enter__(self) -> "Provenance":
        self._modules.__enter__()
        self._sizes.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        self._sizes.__exit__(*arguments)
        self._modules.__exit__(*arguments)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {}, func(*args, **(kwargs or {})))
        self._calls += 1
        labelled = [tensor for tensor in call.tensors if self.of(tensor)]
        if labelled:
            with _disable_current_modes():
                rule = rule_of(call)
                if rule is None or not rule(self, call):
                    self._keep_all(call, labelled)
            if all(self.is_weight(tensor) for tensor in call.tensors if tensor.is_floating_point() and tensor.dim()):
                made = [item for item in tree_flatten(call.result)[0] if isinstance(item, Tensor)]
                self._weights.update(map(id, made))
                self._alive += made
        return call.result

    def of(self, tensor: Tensor) -> Labels:
        """Where the elements of `tensor` come from; empty where from no channel."""
        if id(tensor) not in self._labels and id(tensor) in self._names:
            axes = {axis: self.atoms.new(size) for axis, size in enumerate(tensor.shape[:2]) if size > 1 or axis == 0}
            self.axes[self._names[id(tensor)]] = axes
            with _disable_current_modes():
                self.set(tensor, [along(atoms, axis, tensor.shape) for axis, atoms in axes.items()])
        return self._labels.get(id(tensor), [])

    def set(self, tensor: Tensor, labels: Labels) -> None:
        """Say where the elements of `tensor` come from."""
        self._labels[id(tensor)] = labels
        self._alive.append(tensor)

    def keep(self, tensor: Tensor, reason: str) -> None:
        """No channel in `tensor` may be cut."""
        for labels in self.of(tensor):
            with _disable_current_modes():
                self.atoms.keep(short(labels), reason)

    def write(self, numbers: Sequence[float], fixed: Sequence[int]) -> None:
        """Say which numbers the present call is written with, and the places of those that are fixed."""
        self.written.setdefault(self._calls, []).append(Written(tuple(numbers), tuple(fixed)))

    def set_blank(self, tensor: Tensor) -> None:
        """Say that `tensor` is new, and of another's shape whatever that will be."""
        self._blank.add((tensor.untyped_storage()._cdata, tensor.shape))
        self._alive.append(tensor)

    def is_blank(self, tensor: Tensor) -> bool:
        """Whether `tensor` has another's shape, and nothing else of it."""
        return (tensor.untyped_storage()._cdata, tensor.shape) in self._blank

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether `tensor` was computed from parameters alone."""
        return id(tensor) in self._weights

    def _keep_all(self, call: Call, tensors: Sequence[Tensor]) -> None:
        inside = max(self._modules.parents - {"Global"}, key=len, default="")
        for tensor in tensors:
            self.keep(tensor, f"{call.name} in {inside.partition('.')[2] or 'the network'} mixes channels")
