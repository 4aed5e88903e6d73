"""The networks: a mapping or JSON -> `Arch` -> `nn.Module`. `MODELS` is the one list of them.

Adding a network: a file with its `Arch` (whose `network()` builds it), a line in `MODELS`, a choice in conf/model. The
contract test runs on every member of the list.
"""

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from torch import nn

from models.alexnet import AlexNetArch
from models.arch import Arch
from models.choices import complaint
from models.dorefa_svhn import DorefaSvhnArch
from models.fcn import FcnArch
from models.googlenet import GoogLeNetArch
from models.mobilenet_v1 import MobileNetV1Arch
from models.mobilenet_v2 import MobileNetV2Arch
from models.mobilenet_v3 import MobileNetV3Arch
from models.quantize import apply_quantization
from models.resnet import ResNetArch
from models.searchable import SearchableArch
from models.shufflenet_v1 import ShuffleNetV1Arch
from models.shufflenet_v2 import ShuffleNetV2Arch
from models.svhn_net import SvhnNetArch

MODELS: dict[str, type[Arch]] = {
    "svhn_net": SvhnNetArch,
    "searchable": SearchableArch,
    "dorefa_svhn": DorefaSvhnArch,
    "mobilenet_v1": MobileNetV1Arch,
    "mobilenet_v2": MobileNetV2Arch,
    "mobilenet_v3": MobileNetV3Arch,
    "shufflenet_v1": ShuffleNetV1Arch,
    "shufflenet_v2": ShuffleNetV2Arch,
    "resnet": ResNetArch,
    "googlenet": GoogLeNetArch,
    "alexnet": AlexNetArch,
    "fcn": FcnArch,
}


def build(arch: Arch | Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """The network of `arch`, which it carries as `.arch`.

    The same `seed` gives the same weights and leaves torch's own generator as it was; None draws from that generator.
    """
    described = arch if isinstance(arch, Arch) else arch_from(arch)
    if seed is None:
        return _built(described)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(described)


def _built(arch: Arch) -> nn.Module:
    network = arch.network()
    network.arch = arch  # type: ignore[assignment]
    return network if arch.quantization is None else apply_quantization(network, arch.quantization)


def arch_from(mapping: Mapping[str, Any]) -> Arch:
    """`{"model": name, field: value, ...}` as a checked `Arch`; ValueError says what does not fit."""
    name = mapping.get("model")
    if name not in MODELS:
        near = difflib.get_close_matches(str(name), MODELS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(MODELS)}"
        raise ValueError(f"model: expected a known network, got {name!r} ({hint})")
    kind = MODELS[name]
    _refuse_unknown_fields(mapping, kind, name)
    try:
        return msgspec.convert(dict(mapping), kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {complaint(error, kind)}") from error


def fitted(arch: Arch, in_channels: int, classes: int, image_size_px: int) -> Arch:
    """The same network for other images; ValueError where it cannot be."""
    return msgspec.structs.replace(arch, in_channels=in_channels, classes=classes, image_size_px=image_size_px)


def arch_to_json(arch: Arch) -> str:
    """One JSON object; `arch_from_json` reads it back to an equal value."""
    return msgspec.json.format(msgspec.json.encode(arch), indent=1).decode() + "\n"


def arch_from_json(text: str | bytes) -> Arch:
    """The `Arch` of `arch_to_json`; ValueError says what does not fit."""
    try:
        mapping = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"expected the JSON object of an arch, got something else: {error}") from error
    return arch_from(mapping)


def _refuse_unknown_fields(mapping: Mapping[str, Any], kind: type[Arch], name: str) -> None:
    """msgspec would refuse them as well, but without the near name."""
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for field in mapping:
        if field != "model" and field not in known:
            near = difflib.get_close_matches(str(field), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{name}: unknown field {field!r} ({hint})")
