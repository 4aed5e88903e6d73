"""Constants that what depends on the input was written to: what they are to a trace from then on.

A constant has numbers, and torch would write to them what only shapes are known of. So from then on a tensor of its shape, without
numbers, stands for it: whoever passes the constant means that one. Other tensors that share its memory would show what was there
before, and are refused.
"""

from typing import Any

import torch

from nas.compiler.front_end.nests import tensors_in
from nas.core.errors import InputError


class Overwritten:
    """Empty, and so false, until `add`."""

    def __init__(self) -> None:
        self._now: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._memory: dict[int, torch.UntypedStorage] = {}

    def __bool__(self) -> bool:
        return bool(self._now)

    def add(self, constant: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        """From here on `constant` is `now`, which is returned; or what it has been since it was first written to."""
        storage = constant.untyped_storage()
        self._memory[storage._cdata] = storage
        return self._now.setdefault(id(constant), (constant, now))[1]

    def now(self, structure: Any) -> Any:
        """The same arguments, however deep, with what constants are by now in their places."""
        if not self._now:
            return structure
        if isinstance(structure, torch.Tensor):
            return self._now[id(structure)][1] if id(structure) in self._now else structure
        if type(structure) in (tuple, list):
            return type(structure)(self.now(item) for item in structure)
        if isinstance(structure, dict):
            return {name: self.now(item) for name, item in structure.items()}
        return structure

    def own(self, result: Any) -> Any:
        """What the module knows a result as: the constant, of what stands for one."""
        if not self._now:
            return result
        return next((constant for constant, now in self._now.values() if result is now), result)

    def refuse_stale(self, structure: Any, where: str) -> None:
        """InputError for arguments, however deep, that share the memory of a constant which is another by now."""
        if not self._now:
            return
        for tensor in tensors_in(structure):
            if tensor.device.type != "meta" and tensor.untyped_storage()._cdata in self._memory:
                raise changed_behind(tensor, where)


def changed_behind(tensor: torch.Tensor, where: str) -> InputError:
    """The error of who reads a tensor that was written to by way of another one."""
    return InputError(
        where or "forward",
        "",
        "tensors that change as a whole or not at all",
        f"one of shape {tuple(tensor.shape)} that was changed in place through a part or another view of it",
    )
