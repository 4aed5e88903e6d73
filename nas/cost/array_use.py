"""Commands of the matrix engine -> where the cycles of its cells go: what is computed, and each reason for an idle cell.

A fold fills the array of R x C cells once (see `nas.timing.matrix`). Of the cycles that a command takes,

    computing     are multiply-adds / (R * C), as if all cells worked all the time on operands of one pass
    wide operands are the further passes of operands wider than a cell (negative where a bit-serial array needs fewer)
    empty rows    are cells in rows that the last fold does not fill, or that K (M if output-stationary) is too short for
    empty columns the same for the output channels of a group (its pixels if input-stationary)
    groups apart  are cells between groups that share a fold: these lie on the diagonal of the array
    fill, drain   are the wavefront's way through the array, once a fold, and the first operands held or the last sums
    overhead      are issue, tail and what the ports of the sram hold up

and nothing else: the parts add up to the cycles of the commands, each alone.
"""

import itertools
from collections.abc import Iterable

import msgspec

from nas.hw.spec import Processor
from nas.ir.command import Command, Conv, Dataflow, Matmul
from nas.timing.cycles import command_cycles
from nas.timing.matrix import array_cycles, held_and_streamed, passes
from nas.timing.traffic import command_work


class Product(msgspec.Struct, frozen=True):
    """One shape of product among the commands of a layer: pixels M, terms K, channels N of each of `groups` groups."""

    commands: int
    pixels: int
    terms: int
    channels: int
    groups: int
    dataflow: Dataflow
    folds: int


class ArrayUse(msgspec.Struct, frozen=True):
    """cycles: of all commands, each alone; parts: in cycles, as above, and they sum to `cycles`."""

    cycles: int
    parts: dict[str, float]
    products: tuple[Product, ...]

    @property
    def utilisation(self) -> float:
        return self.parts["computing"] / self.cycles if self.cycles else 0.0


def array_use(commands: Iterable[Command], processor: Processor) -> ArrayUse:
    """How the matrix engine's commands among `commands` use the array."""
    names = ("computing", "wide operands", "empty rows", "empty columns", "groups apart", "fill, drain", "overhead")
    parts = dict.fromkeys(names, 0.0)
    counts: dict[Product, int] = {}
    cycles = 0
    for command in commands:
        if command.engine == "matrix" and isinstance(command.attributes, Conv | Matmul):
            product = product_of(command, processor)
            counts[product] = counts.get(product, 0) + 1
            cycles += command_cycles(command, processor)
            for name, part in zip(names, _parts(command, product, processor), strict=True):
                parts[name] += part
    products = tuple(msgspec.structs.replace(product, commands=count) for product, count in counts.items())
    return ArrayUse(cycles, parts, products)


def product_of(command: Command, processor: Processor) -> Product:
    """The product that a command of the matrix engine computes."""
    attributes, weights = command.attributes, command.reads[1].shape
    assert isinstance(attributes, Conv | Matmul)
    groups = attributes.groups if isinstance(attributes, Conv) else 1
    pixels, terms, channels = command_work(command).outputs // weights[0], 1, weights[0] // groups
    for size in weights[1:]:
        terms *= size
    rows, columns, _ = held_and_streamed(pixels, terms, channels, attributes.dataflow)
    matrix = processor.matrix
    folds = -(-groups // _packed(rows, columns, groups, processor))
    folds *= -(-rows // matrix.rows) * -(-columns // matrix.columns)
    return Product(1, pixels, terms, channels, groups, attributes.dataflow, folds)


def _packed(rows: int, columns: int, groups: int, processor: Processor) -> int:
    """Groups that share a fold."""
    return max(1, min(groups, processor.matrix.rows // rows, processor.matrix.columns // columns))


def _parts(command: Command, product: Product, processor: Processor) -> list[float]:
    attributes, matrix = command.attributes, processor.matrix
    assert isinstance(attributes, Conv | Matmul)
    widths = passes(attributes.weight, attributes.input, matrix)
    rows, columns, stream = held_and_streamed(product.pixels, product.terms, product.channels, product.dataflow)
    packed = _packed(rows, columns, product.groups, processor)
    row_share = min(1.0, packed * rows / (-(-rows // matrix.rows) * matrix.rows))
    column_share = min(1.0, packed * columns / (-(-columns // matrix.columns) * matrix.columns))
    reached = [command_work(command).macs / (matrix.rows * matrix.columns)]
    reached.append(reached[0] * widths[0] / widths[1])
    reached.append(reached[1] / row_share)
    reached.append(reached[2] / column_share)
    reached.append(float(product.folds * -(-stream * widths[0] // widths[1])))
    reached.append(
        float(
            array_cycles(
                product.pixels, product.terms, product.channels, product.groups, attributes.dataflow, matrix, widths
            )
        )
    )
    reached.append(float(command_cycles(command, processor)))
    return [reached[0], *(after - before for before, after in itertools.pairwise(reached))]
