"""The names of the files of a compiled network in its folder; what is in them is in `nas.ir.schema`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class CompiledFiles:
    """Paths in `folder`, which need not exist yet."""

    folder: Path

    @property
    def naive(self) -> Path:
        return self.folder / "cmds.json"

    @property
    def naive_weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def optimised(self) -> Path:
        return self.folder / "cmds-o.json"

    @property
    def weights(self) -> Path:
        return self.folder / "weights-o.safetensors"

    @property
    def parallel(self) -> Path:
        return self.folder / "cmds-o-par.json"

    @property
    def parallel_weights(self) -> Path:
        """Only where several cores share the work; else the parallel program has the weights of the optimised one."""
        return self.folder / "weights-o-par.safetensors"

    @property
    def truth(self) -> Path:
        return self.folder / "gt.safetensors"
