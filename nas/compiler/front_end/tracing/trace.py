"""nn.Module -> the list of calls that its forward makes on its inputs, with the path of the module that makes each.

The module runs once, on tensors of the meta device: shapes flow through it, numbers do not, and no weight is copied. All
that depends on shapes and on Python values is thereby decided as in a real run; what depends on the numbers of an input
has no answer on the meta device and is refused with the module and the line. What is computed from weights alone is
computed for real, which folds it.

Quantisers are recognised by two methods (duck-typed, so that any library can offer them):
    integer_format() -> (bits, scale, zero)                             of a module that quantises activations
    integer_codes(weight) -> (codes, scale, multiplier, offset)         of a module that quantises weights
"""

import inspect
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from nas.compiler.front_end.nests import tensors_in
from nas.compiler.front_end.tracing.calls import TracedForward
from nas.compiler.front_end.tracing.recorder import Recorder
from nas.compiler.front_end.written_out import written_out
from nas.core.errors import InputError

# What the forward of a module raises for an input that it was not written for.
_BROKEN_FORWARDS = (
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def trace(module: nn.Module, input_shapes: tuple[tuple[int, ...], ...]) -> TracedForward:
    """Trace `module`, as it is in eval mode, for inputs of `input_shapes` (batch first).

    Raises InputError where the forward depends on the numbers of an input, with the module and the line, and for a shape without
    axes, with the argument.
    """
    recorder = Recorder(module)
    named = dict(zip(_input_names(module, len(input_shapes)), input_shapes, strict=True))
    for name, shape in named.items():
        if not shape:
            raise InputError(name, "", "a shape with the images in front", shape)
    inputs = [torch.empty(shape, device="meta") for shape in input_shapes]
    values = tuple(recorder.new_value(tensor) for tensor in inputs)
    with evaluating(module), torch.no_grad(), recorder.installed():
        try:
            result = module(*inputs)
        except _BROKEN_FORWARDS as error:
            raise _cannot_trace(module, recorder, error, named) from error
    outputs = tuple(recorder.value_of(tensor) for tensor in tensors_in(result))
    if not outputs:
        raise InputError(type(module).__name__, "forward", "at least one output tensor", type(result).__name__)
    is_named = isinstance(result, Mapping) and len(result) == len(outputs)
    output_names = tuple(map(str, result)) if is_named else ()
    return TracedForward(tuple(recorder.calls), values, tuple(named), outputs, output_names)


def _input_names(module: nn.Module, count: int) -> tuple[str, ...]:
    """What `forward` calls so many arguments. Where it doesn't take them, the call is to say so."""
    if count == 1:
        return ("input",)
    try:
        taken = inspect.signature(module.forward).bind(*range(count)).arguments
    except (TypeError, ValueError):
        taken = {"input": tuple(range(count))}
    return tuple(
        name
        for argument, given in taken.items()
        for name in ([argument] if isinstance(given, int) else [f"{argument}[{place}]" for place in range(len(given))])
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time of the trace, attention written out. Every module gets its own mode back, and buffers that its
    forward writes to get their numbers.
    """
    was = {inner: inner.training for inner in module.modules()}
    buffers = _buffers(module)
    if any(was.values()):
        module.eval()
    try:
        with written_out():
            yield
    finally:
        for inner, training in was.items():  # parents first; what a module did on its way to this mode it undoes
            if inner.training != training:
                inner.train(training)
        for inner, name, buffer, numbers, version in buffers:
            inner._buffers[name] = buffer
            if buffer._version != version:
                buffer.copy_(numbers)


def _buffers(module: nn.Module) -> list[tuple[nn.Module, str, torch.Tensor, torch.Tensor, int]]:
    """(who has it, its name there, the buffer, its numbers apart from it, its version)."""
    return [
        (inner, name, buffer, buffer.detach().clone(), buffer._version)
        for inner in module.modules()
        for name, buffer in inner._buffers.items()
        if buffer is not None
    ]


def _cannot_trace(
    module: nn.Module, recorder: Recorder, error: Exception, inputs: Mapping[str, tuple[int, ...]]
) -> InputError:
    """The error of a forward that failed, with the innermost line of the user's own code, and what it was given."""
    front_end = Path(__file__).parents[1]
    not_theirs = (Path(torch.__file__).parent, front_end)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(folder) for folder in not_theirs)
    ]
    line = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else "forward"
    where = ".".join(part for part in (type(module).__name__, recorder.deepest_path) if part)
    needs_numbers = isinstance(error, NotImplementedError) or "meta" in str(error)
    expected = (
        "a forward that depends on shapes, not on the numbers of its input" if needs_numbers else "an input that fits"
    )
    given = ", ".join(f"{name} of {'x'.join(map(str, shape))}" for name, shape in inputs.items())
    return InputError(where, line, expected, str(error) or type(error).__name__, f"inputs are float32: {given}")
