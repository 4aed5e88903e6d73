"""Network -> the naive sequential program: every operator loads its tiles from dram, computes, and stores to dram.

Nothing stays on chip between two operators, and every address in sram is used anew by every tile: easy to believe, and
what everything that the optimiser gains is measured against.
"""

from nas.compiler.network import Network, tensor_bytes
from nas.compiler.opt.memory.alloc import allocate
from nas.compiler.regions import aligned, image_of, place
from nas.compiler.tiling import (
    Compute,
    Tile,
    channel_step,
    engine_of,
    image_operands,
    output_size,
    part_of,
    staged,
    tiles_of,
)
from nas.compiler.views import view_boxes
from nas.core.errors import DoesNotFit, InputError, Violation
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Command, Host, Load, Store
from nas.ir.program import Binding, Concat, Operator, Program, View
from nas.ir.tensor import Region, box, dense


def naive_program(network: Network, processor: Processor) -> Program:
    """Commands for the whole network. Raises `DoesNotFit` where not even the smallest tile of a layer fits the sram."""
    return _Naive(network, processor).program()


class _Naive:
    """Collects commands; `places` says where each tensor lies in dram."""

    def __init__(self, network: Network, processor: Processor) -> None:
        self.network, self.processor = network, processor
        self.commands: list[Command] = []
        self.sram_bytes = 0
        self.places, self.dram_bytes = dram_places(network)
        if self.dram_bytes > processor.dram.size_bytes:
            self.places, self.dram_bytes = shared_dram_places(network)

    def program(self) -> Program:
        if self.dram_bytes > self.processor.dram.size_bytes:
            raise DoesNotFit(
                Violation("dram_bytes", self.network.name, self.dram_bytes, self.processor.dram.size_bytes, "bytes")
            )
        for operator in self.network.operators:
            self._emit(operator)
        return Program(
            name=self.network.name,
            processor=self.processor.name,
            stage="front_end",
            tensors=tuple(self.network.tensors.values()),
            operators=self.network.operators,
            inputs=bindings(self.network, self.network.inputs, self.places),
            outputs=bindings(self.network, self.network.outputs, self.places),
            constants=bindings(
                self.network,
                tuple(name for name, tensor in self.network.tensors.items() if tensor.role == "constant"),
                self.places,
            ),
            commands=tuple(self.commands),
            used_bytes={"dram": self.dram_bytes, "sram": self.sram_bytes},
        )

    def _emit(self, operator: Operator) -> None:
        function = operator.function
        reads = [self.places[name] for name in operator.inputs]
        writes = [self.places[name] for name in operator.outputs]
        if isinstance(function, Host):
            self.commands.append(Command("host", operator.layer, tuple(reads), tuple(writes), function))
            return
        if isinstance(function, View):
            for image in range(writes[0].shape[0]):
                boxes = view_boxes(function, image_of(reads[0], image), image_of(writes[0], image))
                if boxes is None:
                    raise InputError(
                        operator.layer,
                        "reshape",
                        f"axes that split or join as wholes at {reads[0].bits} bits",
                        f"{reads[0].shape} to {writes[0].shape}",
                    )
                self._move(operator.layer, *boxes)
            return
        if isinstance(function, Concat):
            self._concat(operator.layer, reads, writes[0])
            return
        for part_reads, part_write in image_operands(operator, self.network.tensors, reads, writes[0]):
            self._compute(operator.layer, function, part_reads, part_write)

    def _concat(self, layer: str, reads: list[Region], write: Region) -> None:
        for image in range(write.shape[0]):
            start = 0
            for read in reads:
                source = image_of(read, image)
                target = box(image_of(write, image), (start, start + source.shape[0]))
                self._move(layer, source, target)
                start += source.shape[0]

    def _move(self, layer: str, source: Region, target: Region) -> None:
        """dram -> sram -> dram, cut along the first axis until it fits."""
        staging = dense("sram", 0, source.shape, source.bits)
        if staging.end_bytes > self.processor.sram.size_bytes:
            axis = next((axis for axis, size in enumerate(source.shape) if size > 1), None)
            if axis is None:
                raise DoesNotFit(self._violation(layer, staging.end_bytes))
            half = source.shape[axis] // 2
            for bounds in ((0, half), (half, source.shape[axis])):
                cut = [None] * axis + [bounds]
                self._move(layer, box(source, *cut), box(target, *cut))
            return
        self.sram_bytes = max(self.sram_bytes, staging.end_bytes)
        self.commands.append(Command("dma_in", layer, (source,), (staging,), Load()))
        self.commands.append(Command("dma_out", layer, (staging,), (target,), Store()))

    def _compute(self, layer: str, function: Compute, reads: tuple[Region, ...], write: Region) -> None:
        for tile in self._tiles(layer, function, reads, write):
            part = part_of(function, reads, write, tile)
            local_parts, offset_bytes = staged(part)
            self.sram_bytes = max(self.sram_bytes, offset_bytes)
            for source, local in zip(part.reads, local_parts, strict=False):
                self.commands.append(Command("dma_in", layer, (source,), (local,), Load()))
            self.commands.append(Command(engine_of(function), layer, local_parts[:-1], local_parts[-1:], part.function))
            self.commands.append(Command("dma_out", layer, local_parts[-1:], (part.write,), Store()))

    def _tiles(self, layer: str, function: Compute, reads: tuple[Region, ...], write: Region) -> list[Tile]:
        """The fewest equal tiles that fit: rows are cut first, then channels."""
        rows, channels = output_size(function, reads, write)
        step = channel_step(function, reads, write)
        while True:
            tiles = tiles_of(function, reads, write, rows, channels)
            # Tiles at the edge have padding and less to read; those of one range of channels differ in nothing else.
            first = (tile for tile in tiles if tile.channels == tiles[0].channels)
            need_bytes = max(staged(part_of(function, reads, write, tile))[1] for tile in first)
            if need_bytes <= self.processor.sram.size_bytes:
                return tiles
            if rows > 1:
                rows = ceil_div(rows, 2)
            elif channels > step:
                channels = ceil_div(ceil_div(channels, 2), step) * step
            else:
                raise DoesNotFit(self._violation(layer, need_bytes))

    def _violation(self, layer: str, need_bytes: int) -> Violation:
        have_bytes = self.processor.sram.size_bytes
        return Violation(
            "sram_bytes", layer, need_bytes, have_bytes, "bytes", "more SRAM, fewer channels or fewer bits"
        )


def dram_places(network: Network) -> tuple[dict[str, Region], int]:
    """Every tensor of the network side by side in dram, and the bytes that takes."""
    places: dict[str, Region] = {}
    offset_bytes = 0
    for name, tensor in network.tensors.items():
        places[name] = place(tensor, "dram", offset_bytes)
        offset_bytes = aligned(offset_bytes + tensor_bytes(tensor))
    return places, offset_bytes


def shared_dram_places(network: Network) -> tuple[dict[str, Region], int]:
    """As `dram_places`, but features that never live at the same time may share bytes."""
    spans: dict[str, tuple[int, int]] = {}
    for index, operator in enumerate(network.operators):
        for name in (*operator.outputs, *operator.inputs):
            spans[name] = (spans.get(name, (index, index))[0], index)
    always = (0, len(network.operators))  # constants and inputs are there before, outputs stay
    spans = {
        name: spans.get(name, always) if tensor.role == "feature" else always
        for name, tensor in network.tensors.items()
    }
    sizes = {name: tensor_bytes(tensor) for name, tensor in network.tensors.items()}
    allocation = allocate(spans, sizes, nodes=0)
    places = {name: place(network.tensors[name], "dram", offset) for name, offset in allocation.offsets.items()}
    return places, allocation.peak_bytes


def bindings(network: Network, names: tuple[str, ...], places: dict[str, Region]) -> tuple[Binding, ...]:
    """The named tensors with their places and formats."""
    return tuple(Binding(name, places[name], network.tensors[name].format) for name in names)
