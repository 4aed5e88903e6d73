"""The name of a device -> the device."""

import os

import torch

from nas.core.errors import InputError


def device_of(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; other names are torch's, such as "cuda:1".

    Of several processes on a machine, as torchrun starts them, each takes the CUDA device of its number there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's two ways to say that a device is unknown or not here
        raise InputError("trainer", "device", "auto, cpu, or a CUDA device of this machine", repr(name)) from error
    return device
