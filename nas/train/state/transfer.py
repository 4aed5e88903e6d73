"""A checkpoint of another network -> the weights that a training starts from, as far as they fit.

same name, same shape            copied
same name, another size          partly: the corner that both have (the first channels), as after a change of width
the last layer, other classes    fresh: a class of one data set is none of another
a name that only one has         fresh here, unused there, as after a change of depth
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from torch import nn

from nas.core.artifact import read_json, write_json
from nas.core.errors import InputError
from nas.train.state.checkpoint import has_checkpoint, load_checkpoint, load_tensors, of_prefix

_WEIGHTS = "model.safetensors"
_KIND, _VERSION = "start_from", 1


class Transfer(msgspec.Struct, frozen=True):
    """What became of each tensor, by name. fresh: of the new network; unused: of the checkpoint."""

    copied: tuple[str, ...]
    partly: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        counts = (len(self.copied), len(self.partly), len(self.fresh), len(self.unused))
        return "{} tensors copied, {} partly, {} fresh; {} of the checkpoint unused".format(*counts)


class _Start(msgspec.Struct, frozen=True):
    source: str
    tensors: Transfer


def begin(model: nn.Module, source: Path | None, folder: Path) -> Transfer | None:
    """`start_from` of the run in `folder`, written to its start_from.json; None without a source.

    A run that is resumed must have the source that it began with: InputError for another.
    """
    file = folder / "start_from.json"
    began = read_json(file, _Start, _KIND, _VERSION).source if file.exists() else None
    if has_checkpoint(folder) and (source and str(source)) != began:
        raise InputError(folder, "start_from", repr(began), repr(source and str(source)), "choose another folder")
    if source is None:
        return None
    result = start_from(model, source)
    write_json(file, _Start(str(source), result), _KIND, _VERSION)
    return result


def start_from(model: nn.Module, path: Path) -> Transfer:
    """Copy what fits of the weights at `path` into `model`; InputError where nothing does.

    path: the folder of a run, finished or not, or a safetensors file of a state_dict.
    """
    tensors = read_weights(path)
    result = transfer(model, tensors)
    if not any(math.prod(tensors[name].shape) > 1 for name in (*result.copied, *result.partly)):
        ours, theirs = next(iter(model.state_dict()), "none"), next(iter(tensors), "none")
        raise InputError(path, "", "weights of a related network", f"none that fits ({ours} here, {theirs} there)")
    return result


def transfer(model: nn.Module, tensors: dict[str, torch.Tensor]) -> Transfer:
    """Copy what fits of `tensors`, a state_dict, into `model`."""
    # Counters of noise are no weights: a new training draws its own.
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("_extra_state")}
    tensors = {name: value for name, value in tensors.items() if not name.endswith("_extra_state")}
    other_head = _head_of_other_classes(model, tensors)
    copied, partly, fresh = [], [], []
    for name, target in state.items():
        source = tensors.get(name)
        if source is None or name in other_head or source.dim() != target.dim():
            fresh.append(name)
        elif source.shape == target.shape:
            target.copy_(source)
            copied.append(name)
        else:
            corner = tuple(slice(0, min(sizes)) for sizes in zip(source.shape, target.shape, strict=True))
            target[corner] = source[corner].to(target)
            partly.append(name)
    unused = tuple(name for name in tensors if name not in {*copied, *partly})
    return Transfer(tuple(copied), tuple(partly), tuple(fresh), unused)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state_dict in a run's folder or in a safetensors file, on the CPU; InputError where there is none.

    Of an unfinished run whose weights are averaged, the averages.
    """
    if path.is_dir():
        if (path / _WEIGHTS).exists():
            return load_tensors(path / _WEIGHTS)
        found = load_checkpoint(path)
        if found is None:
            raise InputError(path, "", f"the folder of a run, with {_WEIGHTS} or a checkpoint", "neither")
        return of_prefix("ema/", found[1]) or of_prefix("model/", found[1])
    if path.suffix in (".pt", ".pth", ".bin"):
        hint = "nothing is unpickled here; write it anew with safetensors.torch.save_file(state_dict, path)"
        raise InputError(path, "", "a folder or a safetensors file", path.name, hint)
    return load_tensors(path)


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """The same for the same weights, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def load_exactly(model: nn.Module, path: Path) -> None:
    """All weights of `model` from `path`; InputError where they are another network's."""
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise InputError(path, "", "the weights of exactly this network", error) from error


def _head_of_other_classes(model: nn.Module, tensors: dict[str, torch.Tensor]) -> set[str]:
    """The parameters of the last layer, where the checkpoint's gives another number of logits."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if not layers:
        return set()
    name, layer = layers[-1]
    own = {f"{name}.{key}" if name else key for key in layer.state_dict()}
    theirs = tensors.get(f"{name}.weight" if name else "weight")
    return own if theirs is not None and theirs.shape[0] != layer.weight.shape[0] else set()
