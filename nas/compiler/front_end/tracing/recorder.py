"""Every function of torch that a module calls while it runs -> the calls that depend on its input."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from nas.compiler.front_end.definitions.table import definition_of, module_definition
from nas.compiler.front_end.names import short_name
from nas.compiler.front_end.nests import on_cpu, on_meta, tensors_in
from nas.compiler.front_end.tracing.calls import Call, Codes, Quantise, Value
from nas.compiler.front_end.tracing.overwritten import Overwritten, changed_behind
from nas.compiler.front_end.tracing.stand_ins import FILLED, stand_in
from nas.compiler.front_end.tracing.writes import Bounds, bounds_of, known_places, with_part
from nas.core.errors import InputError

LARGEST_CODE_BITS = 8
# What any tensor answers alike, with numbers or without. Every batch norm asks.
_QUESTIONS = frozenset((torch.Tensor.dim, torch.Tensor.size, torch.Tensor.shape.__get__))  # type: ignore[attr-defined]
# Kinds of arguments, the usual ones, that hold no tensors.
_WITHOUT_TENSORS = frozenset((type(None), bool, int, float, str))


class Recorder(TorchFunctionMode):
    """Sees every torch function while the module runs, and which module is running."""

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.path: list[tuple[str, bool]] = []
        self.deepest_path = ""
        self._names = {module: name for name, module in root.named_modules()}
        self._is_meta = any(_is_on_meta(module) for module in self._names)
        self._values: dict[int, tuple[torch.Tensor, Value, int]] = {}
        # What each part was taken of, by which index, which places that are, and which version of it.
        self._parts: dict[int, tuple[torch.Tensor, Any, Bounds, int]] = {}
        self._codes: dict[int, tuple[torch.Tensor, Codes]] = {}
        self._coded: dict[tuple[int, int], torch.Tensor] = {}
        self._overwritten = Overwritten()
        self._count = 0

    def new_value(self, tensor: torch.Tensor) -> Value:
        value = Value(self._count, tuple(tensor.shape), tensor.dtype)
        self._count += 1
        self._values[id(tensor)] = (tensor, value, tensor._version)
        return value

    def value_of(self, tensor: torch.Tensor) -> Value:
        tensor = self._overwritten.now(tensor)
        if id(tensor) not in self._values:
            raise InputError("forward", "outputs", "tensors that depend on the input", "a constant")
        _, value, version = self._values[id(tensor)]
        if tensor._version != version:
            raise changed_behind(tensor, self.deepest_path)
        return value

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _QUESTIONS:
            return function(*args, **kwargs)
        was = self._overwritten
        return was.own(self._followed(function, types, was.now(args), was.now(kwargs)))

    def _followed(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        is_filled = function in FILLED and bool(args)
        if is_filled or not (self._reads_values(args) or (kwargs and self._reads_values(kwargs.values()))):
            if not is_filled:
                self._overwritten.refuse_stale((args, kwargs), self.deepest_path)
            return self.constant(function, args, kwargs, is_filled)
        if function is torch.Tensor.__getitem__:
            args = (args[0], known_places(args[1]))
        if function is torch.Tensor.__iter__:
            return iter(self._followed(torch.unbind, types, args, {}))
        if function is torch.Tensor.__setitem__:
            return self.write(*args)
        definition = definition_of(function, args, kwargs, self.is_value)
        if definition is not None:
            with self:
                return definition()
        arguments = tuple([self._describe(argument) for argument in args])
        keywords = {name: self._describe(argument) for name, argument in kwargs.items()}
        result = self.run(function, args, kwargs)
        results = tensors_in(result)
        if self.is_followed(results):
            # An in-place function returns its argument; from here on that tensor means the new value.
            outputs = tuple(self.new_value(tensor) for tensor in results)
            self.calls.append(Call(function, arguments, keywords, outputs, self._layer(function)))
            if function is torch.Tensor.__getitem__ and (bounds := bounds_of(args[1], args[0].shape)):
                self._parts[id(result)] = (args[0], args[1], bounds, args[0]._version)
            elif args and result is args[0] and id(result) in self._parts:
                self.write(*self._parts[id(result)][:2], result)
        return result

    def write(self, base: torch.Tensor, index: Any, part: Any) -> None:
        """`base`, which `part` is written to in place, means another value from here on; so does what it is a part of."""
        bounds = bounds_of(index, base.shape)
        if bounds is None:
            raise InputError(self.deepest_path or "forward", "", "a part of places in a row to write to", repr(index))
        taken = self._parts.get(id(part)) if isinstance(part, torch.Tensor) else None
        is_own = taken is not None and taken[0] is base and taken[2] == bounds
        if is_own and taken is not None:
            _, value, version = self._values[id(base)]
            if base._version == part._version == version:
                return  # an augmented assignment writes what has been changed in place once more
            if taken[3] == version:
                # Nobody has changed it but through this part.
                self._values[id(base)] = (base, value, base._version)
        with self:
            new = with_part(base, index, bounds, part)
        base = self.written(base)
        if not is_own:
            # Other views of it have changed as well, and say so; whose numbers are observed sees what was written.
            base[index] = 0 if base.device.type == "meta" else part
        self._values[id(base)] = (base, self.value_of(new), base._version)
        if is_own:
            self._parts[id(part)] = (base, index, bounds, base._version)
        if id(base) in self._parts:
            self.write(*self._parts[id(base)][:2], base)

    def _reads_values(self, arguments: Iterable[Any]) -> bool:
        """Whether any tensor among these, however deep, depends on the input."""
        for each in arguments:
            if isinstance(each, torch.Tensor):
                if id(each) in self._values:
                    return True
            elif type(each) in _WITHOUT_TENSORS:
                continue
            elif any(id(tensor) in self._values for tensor in tensors_in(each)):
                return True
        return False

    def constant(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_filled: bool) -> Any:
        """What does not depend on the numbers of the input: computed for real, but where the weights have none either."""
        if self._is_meta:
            return function(*args, **kwargs)
        if is_filled:
            args = (torch.empty(args[0].shape, dtype=args[0].dtype), *args[1:])
        return function(*on_cpu(args), **on_cpu(kwargs))

    def run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call itself, on shapes alone."""
        known = stand_in(function, args, kwargs)
        if known is not None:
            return known
        shapes, named = on_meta(args), on_meta(kwargs)
        result = function(*shapes, **named)
        for own, shape in (*zip(args[:1], shapes, strict=False), (kwargs.get("out"), named.get("out"))):
            if isinstance(own, torch.Tensor) and own is not shape and shape._version:
                self._overwritten.add(own, shape)
        return result

    def written(self, tensor: torch.Tensor) -> torch.Tensor:
        """What a tensor, a part of which is written to, is to the trace from here on."""
        if tensor.device.type == "meta":
            return tensor
        return self._overwritten.add(tensor, torch.empty_like(tensor, device="meta"))

    def is_followed(self, results: list[torch.Tensor]) -> bool:
        """Whether results are tensors of the network: sizes and such are not."""
        return bool(results) and all(tensor.device.type == "meta" for tensor in results)

    def is_value(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor depends on the input."""
        return id(self._overwritten.now(tensor)) in self._values

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Record, and know the module that runs: what `nn.Module.__call__` calls is replaced for the time of the trace.

        (Not `__call__` itself: Python then goes through all subclasses of `nn.Module`, of which torch has thousands.)
        """
        original = nn.Module._call_impl
        recorder = self

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            recorder.path.append((recorder._names.get(module, type(module).__name__), _is_layer(module)))
            recorder.deepest_path = recorder.path[-1][0]
            if isinstance(module, torch.jit.ScriptModule) and recorder._reads_values((args, kwargs)):
                raise InputError(
                    recorder.deepest_path or "forward", "", "modules that Python runs", "one of TorchScript"
                )
            result = recorder.quantiser(module, args)
            if result is None:
                definition = module_definition(module, args, kwargs)
                result = original(module, *args, **kwargs) if definition is None else definition()
            recorder.path.pop()
            return result

        nn.Module._call_impl = call  # type: ignore[method-assign, assignment]
        try:
            with self:
                yield
        finally:
            nn.Module._call_impl = original  # type: ignore[method-assign, assignment]

    def is_quantiser(self, module: Any, args: tuple[Any, ...]) -> bool:
        """Whether `module` rounds its one argument to so few bits that engines take its codes."""
        if len(args) != 1 or not isinstance(args[0], torch.Tensor):
            return False
        if self.is_value(args[0]):
            return _offers(module, "integer_format") and module.integer_format()[0] <= LARGEST_CODE_BITS
        return _offers(module, "integer_codes") and bool(module.bits <= LARGEST_CODE_BITS)

    def quantiser(self, module: Any, args: tuple[Any, ...]) -> torch.Tensor | None:
        """The result of a quantiser that stays one call; None for any other module."""
        args = self._overwritten.now(args)
        if not self.is_quantiser(module, args):
            return None
        if self.is_value(args[0]):
            bits, scale, zero = module.integer_format()
            output = torch.empty(args[0].shape, device="meta")
            value = self._values[id(args[0])][1]
            function = Quantise(bits, scale, zero)
            self.calls.append(Call(function, (value,), {}, (self.new_value(output),), self.path[-1][0]))
            return output
        key = (id(module), id(args[0]))
        if key not in self._coded:
            codes, scale, multiplier, offset = _integer_codes(module, args[0])
            stand_in = self._coded[key] = torch.empty(args[0].shape, device="meta")
            self._codes[id(stand_in)] = (stand_in, Codes(codes, module.bits, scale, multiplier, offset))
        return self._coded[key]

    def _describe(self, argument: Any) -> Any:
        if type(argument) in _WITHOUT_TENSORS:
            return argument
        if isinstance(argument, np.generic):
            return argument.item()
        if isinstance(argument, torch.Tensor):
            if id(argument) in self._values:
                return self.value_of(argument)
            if id(argument) in self._codes:
                return self._codes[id(argument)][1]
            if argument.device.type == "meta" and not self._is_meta:
                raise InputError(
                    self.deepest_path or "forward", "", "tensors made by functions of torch", "one of unknown origin"
                )
            self._overwritten.refuse_stale(argument, self.deepest_path)
            return argument
        if isinstance(argument, list | tuple):
            return tuple([self._describe(item) for item in argument])
        return argument

    def _layer(self, function: Any) -> str:
        """The path of the module that calls; a function called by a container gets the function's name behind it."""
        path, is_layer = self.path[-1] if self.path else ("", False)
        return path if is_layer else ".".join(part for part in (path, short_name(function)) if part)


def _integer_codes(module: Any, weight: torch.Tensor) -> tuple[torch.Tensor, float, int, int]:
    """What the weight quantiser `module` makes of `weight`. Of one without numbers only the shape is known: a single
    element then shows what codes there are (on the meta device its arithmetic takes torch a hundred times as long).
    """
    if weight.device.type != "meta":
        codes, scale, multiplier, offset = module.integer_codes(weight)
        return codes, scale, multiplier, offset
    with torch._C.DisableTorchFunction():
        codes, scale, multiplier, offset = module.integer_codes(torch.ones((1,) * weight.dim()))
        return torch.empty(weight.shape, dtype=codes.dtype, device="meta"), scale, multiplier, offset


def _offers(module: nn.Module, method: str) -> bool:
    """Whether `module` has this method. (`hasattr` would also ask for a parameter, a buffer and a part of that name.)"""
    return hasattr(type(module), method) or method in module.__dict__


def _is_layer(module: nn.Module) -> bool:
    """Whether `module` is one function to its user: it has no parts, or it is one of torch's own layers."""
    kind: type = type(module)
    return not module._modules or _is_of_torch(kind) or next(module.children(), None) is None


@lru_cache(maxsize=1 << 10)
def _is_of_torch(kind: type) -> bool:
    bases = (base.__module__ for base in kind.__mro__)
    return any(name.startswith("torch.nn.modules.") and not name.endswith((".module", ".container")) for name in bases)


def _is_on_meta(module: nn.Module) -> bool:
    """Whether any weight of `module` itself, without its parts, has no numbers."""
    weights = (*module._parameters.values(), *module._buffers.values())
    return any(weight is not None and weight.device.type == "meta" for weight in weights)
