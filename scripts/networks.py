"""The networks that scripts are asked for: a configuration, or the folder of a run -> an `Arch`, or a network with weights."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from entry import input_of
from omegaconf import DictConfig, OmegaConf
from torch import nn

import models
from nas.compiler.front_end.own_module import own_module
from nas.compiler.inputs import InputShape
from nas.compiler.options import CompileOptions
from nas.core.artifact import read_json, write_bytes
from nas.core.errors import InputError
from nas.quota.channels.slim import SLIM_KIND, SLIM_VERSION, SlimNetwork, shrunk
from nas.train.state.transfer import load_exactly


def described_network(config: DictConfig, image: Mapping[str, int | None], seed: int, slim: bool = False) -> nn.Module:
    """The network of `arch_file`, or else of `model`, with new weights.

    image: the `in_channels`, `classes` and `image_size_px` that it is made to fit; None leaves one as it is described.
    slim: whether `arch_file` may be the slim.json of a pruning run, for those who write no description of their own.
    """
    with input_of(f"arch_file={config.arch_file}" if config.arch_file else "model"):
        if slim and config.arch_file and Path(config.arch_file).name == "slim.json":
            described = read_json(Path(config.arch_file), SlimNetwork, SLIM_KIND, SLIM_VERSION)
            whole = models.build(described.arch, seed)
            shape = (1, whole.arch.in_channels, whole.arch.image_size_px, whole.arch.image_size_px)
            return shrunk(whole, shape, described.channels)
        if config.arch_file:
            arch = models.arch_from_json(Path(config.arch_file).read_bytes())
        else:
            arch = models.arch_from(OmegaConf.to_container(config.model, resolve=True))
        fit = {name: getattr(arch, name) if value is None else value for name, value in image.items()}
        return models.build(models.fitted(arch, **fit), seed)


def network_to_compile(config: DictConfig, options: CompileOptions) -> tuple[nn.Module, InputShape]:
    """The network of `module`, `arch_file` or else `model`, with its weights, and the shape of its input or inputs, batch first."""
    if options.module is None:
        network = described_network(config, options.image, options.seed, slim=True)
        arch: models.Arch = network.arch  # type: ignore[assignment]
        shape: InputShape = (options.batch, arch.in_channels, arch.image_size_px, arch.image_size_px)
    else:
        sys.path.insert(0, "")  # modules that lie where the user is
        torch.manual_seed(options.seed)  # the script's own process: weights that nobody gave are seeded ones
        network, shape = own_module(options.module), options.input_shapes
    if config.weights_file:
        load_exactly(network, Path(config.weights_file))
    return network, shape


def trained_network(folder: Path, image: Mapping[str, int]) -> nn.Module:
    """The network that a run left in `folder`, which must be one for these images."""
    with input_of(f"teacher={folder}"):
        arch = models.arch_from_json((folder / "arch.json").read_bytes())
    for name, value in image.items():
        if getattr(arch, name) != value:
            raise InputError(f"teacher={folder}", name, f"{value}, as the data has it", getattr(arch, name))
    network = models.build(arch, seed=0)
    load_exactly(network, folder)
    return network


def narrowed_arch(arch: models.Arch, channels: Mapping[str, int], folder: Path) -> None:
    """Write arch.json of the network with so many channels by layer into `folder`, where its kind can say that itself."""
    narrow = arch.narrowed(channels)
    if narrow is not None:
        write_bytes(folder / "arch.json", models.arch_to_json(narrow).encode())
