"""The state of a training <-> two files in its folder, of which one kill at any moment leaves the last good pair.

    checkpoint-<step>.safetensors   tensors: model/<key>, optimizer/<parameter>/<name>, rng/<device>
    checkpoint.json                 the rest, and the name of the tensor file; it is written last, and makes the pair valid

Nothing is pickled. Tensors come back bit for bit.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save

from nas.core.artifact import read_json, write_bytes, write_json
from nas.core.errors import InputError
from nas.train.machine.distributed import Group

PROGRESS_FILE = "checkpoint.json"
_KIND, _VERSION = "checkpoint", 2
_NotNegative = msgspec.Meta(ge=0)


class Progress(msgspec.Struct, frozen=True):
    """How far a training is, as plain values.

    run: what the run was started with; it must be equal when it is resumed. seconds, processor_s: of training so far. loss_sum and
    loss_steps: of the training losses since the last point of the curve. curve: its points, as plain data. parts: the
    plain values of each part of the training, by its name.
    """

    step: Annotated[int, _NotNegative]
    seconds: Annotated[float, _NotNegative]
    loss_sum: float
    loss_steps: Annotated[int, _NotNegative]
    stopped: bool
    curve: list[dict[str, Any]]
    parts: dict[str, dict[str, Any]]
    run: dict[str, Any]
    processor_s: Annotated[float, _NotNegative] = 0.0


class _File(msgspec.Struct, frozen=True):
    tensors: str
    progress: Progress


def save_checkpoint(folder: Path, progress: Progress, tensors: dict[str, torch.Tensor]) -> None:
    """Make `tensors` and `progress` the checkpoint of `folder`, and remove the one before."""
    name = f"checkpoint-{progress.step:08d}.safetensors"
    save_tensors(folder / name, tensors)
    write_json(folder / PROGRESS_FILE, _File(name, progress), _KIND, _VERSION)
    # The second pattern is what a kill in the middle of writing leaves behind.
    for other in [*folder.glob("checkpoint-*.safetensors"), *folder.glob(".checkpoint-*.safetensors")]:
        if other.name != name:
            other.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """The last good checkpoint of `folder`, tensors on the CPU, or None where there is none."""
    path = folder / PROGRESS_FILE
    if not path.exists():
        return None
    file = read_json(path, _File, _KIND, _VERSION)
    if Path(file.tensors).name != file.tensors:
        raise InputError(path, "tensors", "a file name without folders", repr(file.tensors))
    return file.progress, load_tensors(folder / file.tensors)


def checkpoint_of_first(folder: Path, group: Group) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """What `load_checkpoint` gives the first process, in all of them: only its machine needs to have the folder."""
    found = load_checkpoint(folder) if group.is_first else None
    if group.size == 1:
        return found
    progress = group.bytes_of_first(b"" if found is None else msgspec.json.encode(found[0]))
    if not progress:
        return None
    tensors = group.bytes_of_first(b"" if found is None else save(found[1]))
    return msgspec.json.decode(progress, type=Progress), load(tensors)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one to resume."""
    return (folder / PROGRESS_FILE).exists()


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write `tensors` to one safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; a missing or damaged one is an `InputError`."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(path, "", "a readable safetensors file", error) from error


def with_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names with `prefix` in front."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def of_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, which is taken off."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
