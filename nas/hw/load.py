"""YAML -> `Processor`, cross-checked: a processor that could not exist is refused with the field that is wrong."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import DictConfig

from nas.core.config import from_config, load_yaml
from nas.core.errors import InputError, suggestion
from nas.hw.spec import MOST_CORES, Processor

# Beyond these no product of a few amounts is a number any more: a latency of 1e308 s is no number of cycles.
_LEAST, _MOST = 1e-18, 1e18
_LONGEST_WAIT_S = 1.0


def load_processor(path: Path) -> Processor:
    """Read one file of `conf/hardware`."""
    return processor_from(load_yaml(path), path)


def find_processor(name_or_path: str) -> Processor:
    """A processor by the name of its file in `conf/hardware`, or by the path of any such file."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return load_processor(path)
    folder = Path(str(files("conf"))) / "hardware"
    known = [file.stem for file in folder.glob("*.yaml")]
    if name_or_path not in known:
        raise InputError("hardware", "", "a processor", repr(name_or_path), suggestion(name_or_path, known))
    return load_processor(folder / f"{name_or_path}.yaml")


def processor_from(config: DictConfig | Mapping[str, Any], where: object) -> Processor:
    """A processor from composed configuration; `where` names it in errors."""
    processor = from_config(config, Processor, where)
    _check_amounts(processor, where)
    if not 1 <= processor.cores <= MOST_CORES:
        raise InputError(where, "cores", f"1 to {MOST_CORES} cores", processor.cores)
    if processor.sram.size_bytes % processor.sram.banks:
        raise InputError(
            where, "sram.banks", f"a divisor of sram.size_bytes ({processor.sram.size_bytes})", processor.sram.banks
        )
    if processor.sram.banks % processor.sram.pages:
        raise InputError(where, "sram.pages", f"a divisor of sram.banks ({processor.sram.banks})", processor.sram.pages)
    on_chip_bytes = processor.cores * processor.sram.size_bytes
    if processor.dram.size_bytes < on_chip_bytes:
        raise InputError(where, "dram.size_bytes", f"at least the SRAM's {on_chip_bytes}", processor.dram.size_bytes)
    return processor


def _check_amounts(processor: Processor, where: object) -> None:
    amounts = {
        "clock_hz": processor.clock_hz,
        "dram.size_bytes": processor.dram.size_bytes,
        "dram.bandwidth_bytes_per_s": processor.dram.bandwidth_bytes_per_s,
        "sram.size_bytes": processor.sram.size_bytes,
        "sram.banks": processor.sram.banks,
        "sram.port_bytes": processor.sram.port_bytes,
        "sram.pages": processor.sram.pages,
        "matrix.rows": processor.matrix.rows,
        "matrix.columns": processor.matrix.columns,
        "matrix.cell_bits": processor.matrix.cell_bits,
        "vector.lanes": processor.vector.lanes,
        "host.operations_per_s": processor.host.operations_per_s,
    }
    for field, amount in amounts.items():
        if not _LEAST <= amount <= _MOST:
            raise InputError(where, field, f"an amount of {_LEAST:g} to {_MOST:g}", amount)
    energies = msgspec.structs.asdict(processor.energies)
    others = {
        "dram.latency_s": (processor.dram.latency_s, _LONGEST_WAIT_S),
        "host.call_s": (processor.host.call_s, _LONGEST_WAIT_S),
        "issue_cycles": (processor.issue_cycles, _MOST),
        **{f"energies.{name}": (amount, _MOST) for name, amount in energies.items() if name != "source"},
    }
    for field, (amount, most) in others.items():
        if not 0 <= amount <= most:
            raise InputError(where, field, f"an amount of 0 to {most:g}", amount)
