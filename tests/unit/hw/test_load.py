"""Processors from configuration: what could not exist is refused, with the field that is wrong."""

import math
import re
from typing import Any

import msgspec
import pytest

from nas.core.errors import InputError
from nas.hw.load import find_processor, processor_from
from nas.hw.spec import Processor
from nas.timing.cycles import dma_latency_cycles, host_cycles, transfer_cycles
from nas.timing.traffic import Work


def config(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(find_processor("edge_npu"))
    return {**values, **changes}


def test_one_core_unless_a_file_says_otherwise() -> None:
    values = config()
    del values["cores"]
    assert processor_from(values, "here").cores == 1
    eight = processor_from(config(cores=8), "here")
    assert eight.memory_bytes()["sram7"] == eight.sram.size_bytes
    assert len(eight.memory_bytes()) == 9


def test_banks_are_shared_out_to_pages_and_a_file_without_pages_has_one() -> None:
    sram = {"size_bytes": 4096, "banks": 8, "port_bytes": 16}
    one = processor_from(config(sram=sram), "here").sram
    assert (one.pages, one.page_count, one.page_port_bytes) == (1, 1, 128)
    four = processor_from(config(sram={**sram, "pages": 4}), "here").sram
    assert (four.page_count, four.page_port_bytes) == (4, 32)
    for pages in (0, -4, 3, 16):
        with pytest.raises(InputError, match=r"sram\.pages"):
            processor_from(config(sram={**sram, "pages": pages}), "here")
    # A processor that is made in code has as many as its banks allow.
    few = msgspec.structs.replace(four, banks=2)
    assert (few.page_count, few.page_port_bytes) == (2, 16)


@pytest.mark.parametrize("cores", [0, -1, 9, 1.5, "two"])
def test_a_processor_has_one_to_eight_cores(cores: object) -> None:
    with pytest.raises(InputError, match="cores"):
        processor_from(config(cores=cores), "here")


def test_the_dram_is_no_smaller_than_all_that_is_on_chip() -> None:
    size_bytes = find_processor("edge_npu").sram.size_bytes
    dram = {**config()["dram"], "size_bytes": 4 * size_bytes}
    assert isinstance(processor_from(config(dram=dram, cores=4), "here"), Processor)
    with pytest.raises(InputError, match=r"dram\.size_bytes"):
        processor_from(config(dram=dram, cores=5), "here")


@pytest.mark.parametrize(
    ("field", "amount"),
    [
        *((field, amount) for field in ("clock_hz", "dram.bandwidth_bytes_per_s", "host.operations_per_s")
          for amount in (math.inf, math.nan, -1.0, 0.0, 5e-324, 1e308)),
        *((field, amount) for field in ("dram.latency_s", "host.call_s", "energies.mac_pj", "energies.static_w")
          for amount in (math.inf, -math.inf, math.nan, -1.0, 1e308)),
        ("dram.latency_s", 1.5),
        ("issue_cycles", -1),
        ("matrix.rows", 0),
        ("matrix.rows", 10**40),
    ],
)  # fmt: skip
def test_an_amount_that_is_none_is_refused_by_its_name(field: str, amount: float) -> None:
    """Not later: cycles are whole, and infinitely many or no number of them are not."""
    values = config()
    group, _, name = field.rpartition(".")
    (values[group] if group else values)[name] = amount
    with pytest.raises(InputError, match=rf"^here: {re.escape(field)}: expected an amount of .* got "):
        processor_from(values, "here")


def test_extreme_amounts_that_are_allowed_have_cycles() -> None:
    values = config(clock_hz=1e18, issue_cycles=0)
    values["dram"] |= {"latency_s": 1.0, "bandwidth_bytes_per_s": 1e-18}
    values["host"] |= {"call_s": 0.0, "operations_per_s": 1e-18}
    processor = processor_from(values, "here")
    assert dma_latency_cycles(processor) == 10**18
    assert host_cycles(Work(0, 0, 10**12), processor) > 0
    assert transfer_cycles(1 << 40, processor) > 0
