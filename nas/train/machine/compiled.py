"""A network -> the same network through torch.compile, and its complaints as one line.

The network itself stays as it is: names of its state, checkpoints and evaluation do not know of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

from nas.core.errors import InputError


def compiled(network: nn.Module) -> nn.Module:
    """`network`, compiled at its first batch; the weights are the same tensors."""
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]


@contextmanager
def compiler_errors() -> Iterator[None]:
    """What the compiler cannot do, or that there is none, becomes an InputError."""
    try:
        yield
    except (TorchDynamoException, CppCompileError, InvalidCxxCompiler) as error:
        reason = " ".join(str(error).partition("\n\n")[0].split())[:300]  # what; where comes after an empty line
        hint = f"{type(error).__name__}: {reason}; trainer.compile=false trains without"
        raise InputError("trainer", "compile", "a network and a compiler that get along", "neither", hint) from error
