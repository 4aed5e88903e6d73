"""Network -> the naive sequential program: every operator loads its tiles from dram, computes, and stores to dram.

Nothing stays on chip between two operators, and every address in sram is used anew by every tile: easy to believe, and
what everything that the optimiser gains is measured against.
"""

from nas.compiler.network import Network, constant_strides, tensor_bytes
from nas.compiler.regions import aligned, as_map, image_of, permuted, reshaped, whole
from nas.compiler.tiling import Compute, Part, Tile, local_copy, part_of, roles, tile_step
from nas.core.errors import DoesNotFit, InputError, Violation
from nas.core.units import ceil_div
from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Host, Load, Matmul, Store
from nas.ir.program import Binding, Concat, Operator, Program, View
from nas.ir.tensor import Region, Tensor, box, container_bits, dense


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
                source, target = view_boxes(
                    function, image_of(reads[0], image), image_of(writes[0], image), operator.layer
                )
                self._move(operator.layer, source, target)
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
            staged, offset_bytes = _stage(part)
            self.sram_bytes = max(self.sram_bytes, offset_bytes)
            for source, local in zip(part.reads, staged, strict=False):
                self.commands.append(Command("dma_in", layer, (source,), (local,), Load()))
            engine = "matrix" if isinstance(function, Conv | Matmul) else "vector"
            self.commands.append(Command(engine, layer, staged[:-1], staged[-1:], part.function))
            self.commands.append(Command("dma_out", layer, staged[-1:], (part.write,), Store()))

    def _tiles(self, layer: str, function: Compute, reads: tuple[Region, ...], write: Region) -> list[Tile]:
        """The fewest equal tiles that fit: rows are cut first, then channels."""
        is_map = len(write.shape) > 2
        row_count = write.shape[-2] if is_map else 1
        channel_count = write.shape[0] if is_map else write.shape[1]
        step = _channel_step(function, reads, write)
        rows, channels = row_count, channel_count
        while True:
            tile = Tile((0, rows), (0, channels))
            need_bytes = _stage(part_of(function, reads, write, tile))[1]
            if need_bytes <= self.processor.sram.size_bytes:
                break
            if rows > 1:
                rows = ceil_div(rows, 2)
            elif channels > step:
                channels = ceil_div(ceil_div(channels, 2), step) * step
            else:
                raise DoesNotFit(self._violation(layer, need_bytes))
        return [
            Tile((row, min(row + rows, row_count)), (channel, min(channel + channels, channel_count)))
            for channel in range(0, channel_count, channels)
            for row in range(0, row_count, rows)
        ]

    def _violation(self, layer: str, need_bytes: int) -> Violation:
        have_bytes = self.processor.sram.size_bytes
        return Violation(
            "sram_bytes", layer, need_bytes, have_bytes, "bytes", "more SRAM, fewer channels or fewer bits"
        )


def _channel_step(function: Compute, reads: tuple[Region, ...], write: Region) -> int:
    if isinstance(function, Conv) and function.groups > 1:
        return reads[1].shape[0] // function.groups
    if len(reads[0].shape) > 3:
        return write.shape[0]
    return tile_step(function, min([write.bits, *(region.bits for region in reads)]))


def _stage(part: Part) -> tuple[tuple[Region, ...], int]:
    """Dense local copies of all operands of a part, one behind the other, and the bytes they take."""
    staged, offset_bytes = [], 0
    for region, role in zip((*part.reads, part.write), (*roles(part.function), "output"), strict=True):
        local = local_copy(region, role, "sram", offset_bytes)
        staged.append(local)
        offset_bytes = aligned(local.end_bytes)
    return tuple(staged), offset_bytes


def dram_places(network: Network) -> tuple[dict[str, Region], int]:
    """Every tensor of the network side by side in dram, and the bytes that takes."""
    places: dict[str, Region] = {}
    offset_bytes = 0
    for name, tensor in network.tensors.items():
        places[name] = place(tensor, offset_bytes)
        offset_bytes = aligned(offset_bytes + tensor_bytes(tensor))
    return places, offset_bytes


def place(tensor: Tensor, offset_bytes: int) -> Region:
    """The region of a tensor in dram."""
    if tensor.role != "constant":
        return whole(tensor, "dram", offset_bytes)
    bits = container_bits(tensor.format.bits)
    return Region("dram", offset_bytes, tensor.shape, constant_strides(tensor.shape, bits), bits)


def bindings(network: Network, names: tuple[str, ...], places: dict[str, Region]) -> tuple[Binding, ...]:
    """The named tensors with their places and formats."""
    return tuple(Binding(name, places[name], network.tensors[name].format) for name in names)


def view_boxes(view: View, source: Region, target: Region, layer: str) -> tuple[Region, Region]:
    """Two boxes of one shape, so that copying one onto the other does what `view` says."""
    seen = reshaped(source, view.split)
    if seen is not None:
        moved = permuted(seen, view.order)
        if view.stop:
            moved = box(moved, (view.start, view.stop))
        landing = reshaped(target, moved.shape)
        if landing is not None:
            return moved, landing
    if view.order == tuple(range(len(view.order))) and not view.stop:
        landing = reshaped(target, source.shape)
        if landing is not None:
            return source, landing
    raise InputError(
        layer,
        "reshape",
        f"axes that split or join as wholes at {source.bits} bits",
        f"{source.shape} to {target.shape}",
    )


def image_operands(
    operator: Operator, tensors: dict[str, Tensor], reads: list[Region], write: Region
) -> list[tuple[tuple[Region, ...], Region]]:
    """The operands of each image (maps), or of all images at once (rows)."""
    constant = [tensors[name].role == "constant" for name in operator.inputs]
    if len(write.shape) == 2:
        return [(tuple(reads), write)]
    return [
        (
            tuple(
                region if fixed else as_map(image_of(region, image))
                for region, fixed in zip(reads, constant, strict=True)
            ),
            as_map(image_of(write, image)),
        )
        for image in range(write.shape[0])
    ]
