"""A call that no engine knows -> a host operator; and the host itself, which asks PyTorch.

A host operator holds the public name of the function and its other arguments as JSON, so that a program file stays plain
data. The host finds the function by that name under `torch`, or among a few of torchvision's, and nowhere else, and gives it
float32 tensors.
"""

import importlib
import json
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import get_overridable_functions

from nas.compiler.front_end.lowerings.builder import Look, NetworkBuilder, stored_shape
from nas.compiler.front_end.names import function_name, torch_functions
from nas.compiler.front_end.nests import tensors_in
from nas.compiler.front_end.tracing.calls import Call, Codes, Quantise, Value
from nas.core.errors import InputError
from nas.ir.command import Host

_POINTWISE = frozenset(
    torch_functions(
        *("nn.functional." + name for name in ("elu", "selu", "celu", "softplus", "softsign", "mish")),
        *("nn.functional." + name for name in ("logsigmoid", "hardshrink", "softshrink", "tanhshrink", "threshold")),
        *(each + name for each in ("", "Tensor.") for name in ("log", "abs", "sqrt", "erf", "sin", "cos")),
        *(each + name for each in ("", "Tensor.") for name in ("pow", "floor", "ceil", "round", "sign")),
    )
)
# Of torchvision's own, those whose results have a shape that does not depend on the numbers.
_VISION = frozenset(
    "torchvision." + name for name in ("deform_conv2d", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")
)


def lower_to_host(builder: NetworkBuilder, call: Call) -> None:
    """Add `call` as a host operator on float32 tensors."""
    if isinstance(call.function, Quantise):
        raise InputError(call.layer, "quantiser", "a quantiser of one tensor", repr(call.function))
    for output in call.outputs:
        if output.dtype.is_complex:
            raise InputError(call.layer, function_name(call.function), "real numbers", str(output.dtype))
    if call_is_pointwise(call):
        _lower_in_place(builder, call)
        return
    names: list[str] = []
    arguments = json.dumps(
        [_plain(builder, call, list(call.arguments), names), _plain(builder, call, dict(call.keywords), names)]
    )
    function = Host(_callable_name(call), arguments)
    shapes = [stored_shape(output.shape) for output in call.outputs]
    results = builder.apply_many(call.layer, function, tuple(names), shapes)
    for output, name in zip(call.outputs, results, strict=True):
        builder.bind(output, name)


def call_is_pointwise(call: Call) -> bool:
    """Whether a call treats all elements of its one tensor alike."""
    others = [*call.arguments[1:], *call.keywords.values()]
    is_plain = all(each is None or isinstance(each, bool | int | float | str) for each in others)
    value = call.arguments[0] if call.arguments else None
    if not isinstance(value, Value) or not is_plain or call.function not in _POINTWISE:
        return False
    return call.outputs[0].shape == value.shape and value.dtype.is_floating_point


def _lower_in_place(builder: NetworkBuilder, call: Call) -> None:
    """The function of whatever is stored, seen in the same way: an order of axes costs nothing here."""
    look = builder.look(call.arguments[0], call.layer)
    source = builder.as_float(look.name)
    arguments = json.dumps([[{"tensor": 0}, *call.arguments[1:]], dict(call.keywords)])
    shape = builder.tensors[source].shape
    (name,) = builder.apply_many(call.layer, Host(_callable_name(call), arguments), (source,), [shape])
    builder.bind_look(call.outputs[0], Look(name, look.split, look.order))


def run_on_host(function: str, arguments: str, tensors: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """What PyTorch makes of a host operator; for `nas.sim.values`.

    Raises InputError for a function that is not plain arithmetic of torch.
    """
    target = _resolve(function)
    positional, named = json.loads(arguments)
    sources = [torch.from_numpy(np.ascontiguousarray(tensor)) for tensor in tensors]
    with torch.no_grad():
        result = target(*_filled(positional, sources), **{name: _filled(item, sources) for name, item in named.items()})
    return [np.atleast_1d(tensor.to(torch.float32).numpy()) for tensor in tensors_in(result)]


def _callable_name(call: Call) -> str:
    name = function_name(call.function)
    if name.startswith("torch._C._nn."):
        name = name.replace("torch._C._nn.", "torch.nn.functional.")
    try:
        _resolve(name)
    except InputError as error:
        raise InputError(
            call.layer, "forward", "functions of torch on tensors", name, "it can't be put on the host"
        ) from error
    return name


def _resolve(name: str) -> Any:
    """The function of this name; only functions of tensors, so that no file can make the host load or run things."""
    if name in _VISION:
        importlib.import_module("torchvision.ops")  # which takes half a second, and makes them known to torch
        return getattr(torch.ops.torchvision, name.removeprefix("torchvision."))
    target: Any = torch if name.startswith("torch.") else None
    for part in name.split(".")[1:]:
        target = getattr(target, part, None)
    if not callable(target) or target not in _tensor_functions():
        raise InputError("host", "function", "a function of tensors of this torch", repr(name))
    return target


@lru_cache(maxsize=1)
def _tensor_functions() -> frozenset[Any]:
    functions = get_overridable_functions()
    return frozenset(function for group in functions.values() for function in group)


def _plain(builder: NetworkBuilder, call: Call, structure: Any, names: list[str]) -> Any:
    """Arguments as JSON: tensors by their place among the reads."""
    if isinstance(structure, Value):
        names.append(builder.as_float(builder.read(structure, call.layer)))
        shape: dict[str, list[int]] = {} if structure.shape else {"shape": []}
        return {"tensor": len(names) - 1, **shape, **_kind(structure.dtype)}
    if isinstance(structure, Codes):
        number = structure.scale * (structure.multiplier * structure.codes.to(torch.float32) + structure.offset)
        return _plain(builder, call, number, names)
    if isinstance(structure, torch.Tensor):
        names.append(builder.constant(structure, f"{call.layer}.constant"))
        return {"tensor": len(names) - 1, "shape": list(structure.shape), **_kind(structure.dtype)}
    if isinstance(structure, dict):
        return {name: _plain(builder, call, item, names) for name, item in structure.items()}
    if isinstance(structure, list | tuple):
        return [_plain(builder, call, item, names) for item in structure]
    if isinstance(structure, slice):
        return {"slice": [structure.start, structure.stop, structure.step]}
    if structure is Ellipsis:
        return {"ellipsis": True}
    if structure is None or isinstance(structure, bool | int | float | str):
        return structure
    if isinstance(structure, torch.dtype):
        return {"dtype": str(structure).removeprefix("torch.")}
    if isinstance(structure, torch.device):
        return {"device": "cpu"}
    raise InputError(
        call.layer, function_name(call.function), "tensors, numbers, words and lists", type(structure).__name__
    )


def _kind(dtype: torch.dtype) -> dict[str, str]:
    """The kind of number, where it is not a float: host tensors lie in memory as float32."""
    return {} if dtype.is_floating_point else {"dtype": str(dtype).removeprefix("torch.")}


def _dtype(name: Any) -> torch.dtype:
    dtype = getattr(torch, name, None) if isinstance(name, str) else None
    if not isinstance(dtype, torch.dtype):
        raise InputError("host", "arguments", "a dtype of torch", repr(name))
    return dtype


def _filled(structure: Any, tensors: list[torch.Tensor]) -> Any:
    """The inverse of `_plain`."""
    if isinstance(structure, dict):
        if "tensor" in structure:
            tensor = tensors[structure["tensor"]]
            tensor = tensor.reshape(structure["shape"]) if "shape" in structure else tensor
            return tensor.to(_dtype(structure["dtype"])) if "dtype" in structure else tensor
        if "dtype" in structure:
            return _dtype(structure["dtype"])
        if "device" in structure:
            return torch.device("cpu")
        if "slice" in structure:
            return slice(*structure["slice"])
        if "ellipsis" in structure:
            return Ellipsis
        return {name: _filled(item, tensors) for name, item in structure.items()}
    if isinstance(structure, list):  # an index has to be a tuple, and every other sequence may be one
        return tuple(_filled(item, tensors) for item in structure)
    return structure
