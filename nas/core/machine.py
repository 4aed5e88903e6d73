"""What a figure was measured on: the processor's name, its cores, and the versions of what did the work."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

_PACKAGES = ("coevo", "torch", "torchvision", "numpy", "scipy", "msgspec")


class Machine(msgspec.Struct, frozen=True):
    """Times of another machine say nothing, so whoever compares times compares these first."""

    processor: str
    cores: int
    python: str
    packages: dict[str, str]


def this_machine() -> Machine:
    """The one that this runs on."""
    return Machine(processor_name(), os.cpu_count() or 1, platform.python_version(), _versions())


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As the kernel calls it, or else as Python does."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
