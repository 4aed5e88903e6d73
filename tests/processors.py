"""Processors for tests: known ones with another SRAM."""

import msgspec

from nas.hw.load import find_processor
from nas.hw.spec import Processor

EDGE_NPU = find_processor("edge_npu")


def with_sram(kib: int, processor: Processor = EDGE_NPU) -> Processor:
    return msgspec.structs.replace(processor, sram=msgspec.structs.replace(processor.sram, size_bytes=kib << 10))
