"""Any network -> the same network with DoReFa quantisers around its convolutions and linear layers.

DoReFa-Net (arXiv 1606.06160): weights, the tensors that a layer reads, and the gradients of its sums have a few bits each;
the first layer (it reads the image) and the last (it gives the logits) keep full precision unless `skip` says otherwise.

The quantisers of what a layer reads stand before it, so that they fit any network: behind functional activations, sums
and concatenations. Their range is that of `models.ranges`: symmetric where negative numbers arrive, which an image of
noise through a copy of the network with weights of noise shows, and 0 .. 1 for the image itself.
"""

import copy
import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.arch import Quantization
from models.bits import FULL_PRECISION, FULL_PRECISION_BITS, Bits, require_bits
from models.quantized_layers import QuantConv2d, QuantLinear
from models.quantizers import ActivationQuantizer
from models.ranges import positive_quantizer, symmetric_quantizer


@dataclass
class _Reading:
    """What one layer reads."""

    is_image: bool
    is_signed: bool


def quantize(
    model: nn.Module,
    weight_bits: int = FULL_PRECISION_BITS,
    activation_bits: int = FULL_PRECISION_BITS,
    gradient_bits: int = FULL_PRECISION_BITS,
    skip: Collection[str] | None = None,
    layers: Mapping[str, Bits] | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> nn.Module:
    """Quantise `model` in place, and return it; parameters keep their names, and layers their hooks.

    skip: names of layers that stay as they are; None: the first and the last to run. layers: name -> bits of single
    layers, whatever else is said of them. image_shape: (channels, height, width) of one image; None asks `model.arch`.
    Raises ValueError for a name that no layer has, for a layer that is quantised already, and for one with a forward of its own.
    """
    bits = Bits(weight_bits, activation_bits, gradient_bits)
    layers = layers or {}
    for each in (bits, *layers.values()):
        require_bits(weight_bits=each.weight, activation_bits=each.activation, gradient_bits=each.gradient)
    readings = _readings(model, _shape_of(model) if image_shape is None else image_shape)
    names = list(readings)
    _refuse_unknown((*(skip or ()), *layers), names)
    skipped = {names[0], names[-1]} if skip is None else set(skip)
    made: dict[nn.Module, nn.Module] = {}
    for name, reading in readings.items():
        chosen = layers.get(name, FULL_PRECISION if name in skipped else bits)
        if chosen != FULL_PRECISION:
            layer = model.get_submodule(name)
            made[layer] = _quantised(name, layer, chosen, reading)
    _replace(model, made)
    return model


def apply_quantization(model: nn.Module, plan: Quantization) -> nn.Module:
    """`quantize` as a description asks for it."""
    layers = {each.layer: Bits(each.weight_bits, each.activation_bits, each.gradient_bits) for each in plan.layers}
    return quantize(model, plan.weight_bits, plan.activation_bits, plan.gradient_bits, plan.skip, layers)


def layer_names(model: nn.Module, image_shape: tuple[int, int, int] | None = None) -> list[str]:
    """The names of the layers that `quantize` knows, in the order in which they run."""
    return list(_readings(model, _shape_of(model) if image_shape is None else image_shape))


def _shape_of(model: nn.Module) -> tuple[int, int, int]:
    arch = getattr(model, "arch", None)
    if arch is None:
        raise ValueError("image_shape: expected (channels, height, width), got None for a network that carries no arch")
    return arch.in_channels, arch.image_size_px, arch.image_size_px


def _readings(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, _Reading]:
    """Layer -> what it reads, in the order of their first run."""
    generator = torch.Generator().manual_seed(0)
    probe = copy.deepcopy(model).to_empty(device="cpu").float().eval()
    _draw(probe, generator)
    image = torch.rand(2, *image_shape, generator=generator, device="cpu")
    readings: dict[str, _Reading] = {}
    names: dict[nn.Module, str] = {
        module: name for name, module in probe.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }

    def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read = inputs[0]
        seen = readings.setdefault(names[layer], _Reading(True, False))
        seen.is_image &= read.data_ptr() == image.data_ptr()
        seen.is_signed |= bool(read.min() < 0)

    for layer in names:
        layer.register_forward_pre_hook(see)
    with torch.no_grad(), torch.device("cpu"):  # the network itself may be on its way to the meta device
        probe(image)
    if not readings:
        raise ValueError("expected a network with convolutions or linear layers, got one without")
    return readings


def _draw(model: nn.Module, generator: torch.Generator) -> None:
    """Weights of noise that keeps its size from layer to layer; norms that do nothing."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not tensor.is_floating_point():
            tensor.data.zero_()
        elif tensor.dim() > 1:
            nn.init.normal_(tensor, 0.0, tensor[0].numel() ** -0.5, generator=generator)
        else:
            nn.init.constant_(tensor, float(name.endswith(("weight", "running_var"))))


def _refuse_unknown(asked: Iterable[str], names: list[str]) -> None:
    for name in asked:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
            raise ValueError(f"layer: expected one that the network runs, got {name!r} ({hint})")


def _quantised(name: str, layer: nn.Module, bits: Bits, reading: _Reading) -> nn.Module:
    if isinstance(layer, QuantConv2d | QuantLinear):
        raise ValueError(f"{name}: expected a layer in full precision, got one that is quantised already")
    if not name:
        raise ValueError("expected a network that holds its layers, got a single layer")
    if _computes_otherwise(layer):
        kind = type(layer).__name__
        raise ValueError(
            f"{name}: expected a plain convolution or linear layer, got a {kind} with a forward of its own (skip it)"
        )
    if "weight" not in layer._parameters:
        raise ValueError(f"{name}: expected a layer that holds its weight, got one that computes it from others")
    quantizer = _input_quantizer(bits.activation, reading)
    quantised: nn.Module
    if isinstance(layer, nn.Conv2d):
        quantised = QuantConv2d(layer, bits, quantizer)
    else:
        assert isinstance(layer, nn.Linear)
        quantised = QuantLinear(layer, bits, quantizer)
    # The very same dictionaries: whoever registered a hook can still remove it.
    vars(quantised).update({attribute: hooks for attribute, hooks in vars(layer).items() if "hook" in attribute})
    return quantised.train(layer.training)


def _computes_otherwise(layer: nn.Module) -> bool:
    """Whether it is not its class's arithmetic that the layer computes, which is all that a quantised one knows."""
    plain = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear
    names = [name for name in ("forward", "_conv_forward") if hasattr(plain, name)]
    return any(name in vars(layer) or getattr(type(layer), name) is not getattr(plain, name) for name in names)


def _replace(model: nn.Module, made: Mapping[nn.Module, nn.Module]) -> None:
    """Everywhere: a layer may run under several names."""
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if layer in made:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, made[layer])


def _input_quantizer(bits: int, reading: _Reading) -> ActivationQuantizer | None:
    if bits == FULL_PRECISION_BITS:
        return None
    if reading.is_image:
        return ActivationQuantizer(bits)
    return symmetric_quantizer(bits) if reading.is_signed else positive_quantizer(bits)
