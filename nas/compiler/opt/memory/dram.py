"""Buffers that lie in dram -> their addresses there, and the bindings of inputs and outputs; and what cannot lie there."""

from collections.abc import Mapping

from nas.compiler.network import Network, constant_bytes, tensor_bytes
from nas.compiler.opt.layout.storage import Storage
from nas.compiler.opt.memory.alloc import allocate
from nas.compiler.regions import aligned
from nas.core.errors import DoesNotFit, Violation
from nas.hw.spec import Processor
from nas.ir.program import Binding
from nas.ir.tensor import Region


def refuse_what_never_fits(network: Network, processor: Processor) -> None:
    """Raises `DoesNotFit` where constants, inputs and outputs alone are more than the dram holds: no plan changes that."""
    bound = {*network.inputs, *network.outputs}
    need_bytes = sum(tensor_bytes(network.tensors[name]) for name in bound) + constant_bytes(network)
    have_bytes = processor.dram.size_bytes
    if need_bytes > have_bytes:
        raise DoesNotFit(
            Violation("dram_bytes", network.name, need_bytes, have_bytes, "bytes", "fewer weights or bits")
        )


def place_in_dram(
    network: Network, storage: Storage, elsewhere: frozenset[str], spans: Mapping[str, tuple[int, int]] | None = None
) -> tuple[dict[str, int], dict[str, Binding], int]:
    """The address of each buffer that is not `elsewhere`, the bindings, and the first free address.

    spans: the first and the last operator that touch each buffer, where those that never live at the same time are to share
    bytes; without them every buffer has bytes of its own. Inputs and outputs always have: their caller may look at any time.
    """
    here = {name: buffer.size_bytes for name, buffer in storage.buffers.items() if name not in elsewhere}
    bound = {storage.regions[name].memory for name in (*network.inputs, *network.outputs)}
    places: dict[str, int] = {}
    end_bytes = 0
    for name, size_bytes in here.items():
        if spans is None or name in bound or name not in spans:
            places[name] = end_bytes
            end_bytes = aligned(end_bytes + size_bytes)
    if spans is not None:
        shared = {name: spans[name] for name in here if name not in places}
        allocation = allocate(shared, here, nodes=0)
        places |= {name: end_bytes + offset for name, offset in allocation.offsets.items()}
        end_bytes += allocation.peak_bytes
    bindings: dict[str, Binding] = {}
    for name in (*network.inputs, *network.outputs):
        region = storage.regions[name]
        region = Region("dram", places[region.memory] + region.offset_bytes, region.shape, region.strides, region.bits)
        bindings[name] = Binding(name, region, network.tensors[name].format)
    return places, bindings, end_bytes
