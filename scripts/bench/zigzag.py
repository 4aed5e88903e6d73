"""DRAM traffic and cycles beside the best mappings that ZigZag finds, layer by layer, on an array and memories of the same size.

The figures of ZigZag are those of zigzag-dse 3.9.1, summed over the convolutions and the classifier of each network (8-bit operands and
results, 32-bit sums, batch 1), for an accelerator like `edge_npu`: 32 x 32 cells with a weight register of two bytes each,
inputs (and taps) along the rows and outputs along the columns, fewer than 32 where that divides better or nothing is found with 32, accumulators of 64 KiB for each column, an SRAM of 512 KiB with one
port of 512 bytes a cycle, and a DRAM of 5 bytes a cycle. Its search for loops ("loma", uneven) minimises latency, with `lpf_limit` 6, or
7 and 8 where that finds nothing; a depthwise layer has a channel in each column and a tap at a time.

    DRAM, ZigZag, ours      megabytes; fewest: those that must pass
    cycles, ZigZag, ours    millions; ZigZag's array drains once a layer, and nothing of one layer overlaps with the next

ZigZag maps one layer at a time, so that each brings its map from the DRAM and takes its results there; ours passes maps on.
"""

from collections.abc import Iterator

import torchvision

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.sim.parallel import simulate_parallel
from nas.timing.bounds import program_bounds

NAME = "zigzag"
Row = tuple[str, float, str]

# Bytes of DRAM and cycles.
_FOUND = {"resnet18": (16_083_215, 3_788_872), "mobilenet_v2": (17_164_835, 3_587_118)}


def run() -> list[Row]:
    """Both networks on `edge_npu`."""
    return [row for network, found in _FOUND.items() for row in _rows(network, *found)]


def _rows(network: str, moved_bytes: int, cycles: int) -> Iterator[Row]:
    processor = find_processor("edge_npu")
    module = torchvision.models.get_model(network, weights=None).eval().to("meta")
    compiled = compile_network(module, (1, 3, 224, 224), processor, precision=Precision("int8"))
    assert isinstance(compiled, Compiled), compiled
    trace = simulate_parallel(compiled.parallel, processor)
    fewest = program_bounds(compiled.optimised, processor).compulsory_bytes
    yield f"{network} DRAM, ZigZag", moved_bytes / 1e6, "MB"
    yield f"{network} DRAM, ours", trace.dram_bytes / 1e6, "MB"
    yield f"{network} DRAM, fewest", fewest / 1e6, "MB"
    yield f"{network} cycles, ZigZag", cycles / 1e6, "M"
    yield f"{network} cycles, ours", trace.cycles / 1e6, "M"
