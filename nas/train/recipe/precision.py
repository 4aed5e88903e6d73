"""The name of a precision and a device -> the type that autocast computes in."""

from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16", "float16"]

_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86 with tiles, Arm


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """float32 stands for no autocast. `auto` is bfloat16 where the device multiplies it natively.

    A CUDA device older than that gets float16; a CPU float32, because it would only emulate the others.
    """
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bfloat16() else torch.float32


def cpu_multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has instructions for it, as the kernel lists them; without such a list, no."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return not _CPU_FLAGS.isdisjoint(value.split())
    return False
