"""The language of the accelerator, on one page.

A command says all that it touches: no hidden state. `reads` and `writes` are regions, `attributes` is one of OPS below.
Shapes: c, h, w are input channels, rows and columns; n, p, q output channels, rows and columns; k, l the kernel's rows
and columns; g groups. A map is (c, h, w): the last two axes are rows and columns, all axes before them together are
channels, so that a shuffled or sliced tensor can be read through its strides.

    op        engine          reads                                     writes
    load      dma_in          dram box                                  sram box of the same shape and bits
    store     dma_out         sram box                                  dram box of the same shape and bits
    conv      matrix, vector  map (c,h,w), weights (n,c/g,k,l) + tail   map (n,p,q)
    matmul    matrix, vector  rows (m,c), weights (n,c) + tail          rows (m,n)
    eltwise   vector          map or rows + tail                        the same shape
    pool      vector          map (c,h,w)                               map (c,p,q)
    copy      vector          sram box                                  sram box of the same shape and bits
    host      host            any dram tensors                          any dram tensors

The **tail** of conv, matmul and eltwise is the same for all, in this order, each step in float32 with one rounding:
    1. number        an accumulator or element becomes its number (see `Format`), scale * integer
    2. table         y = y * table[0, channel] + table[1, channel], a float32 region (2, channels)      if `table`
    3. multiply      y = y * number of the next read, the factor                                        if `multiply`
    4. add           y = y + number of the next read, the addend                                        if `add`
    5. activation    "relu" max(y, 0); "clip" min(max(y, low), high); "leaky_relu" y or low * y if y < 0; "elu" y or
                     low * (exp(y) - 1) if y < 0; "square" y * y; "rsqrt" 1 / sqrt(y); "reciprocal" 1 / y; and the others as in
                     PyTorch ("gelu_tanh": its approximation of that name)
    6. encode        code = min(max(round_half_even(y * (1 / scale)) - offset, 0), levels), or the float itself
    7. max pool      over the encoded map, window and stride in `pool`; the output is (n, p', q')       if `pool`
Factor and addend have the shape of what they are applied to; an axis of size 1 (for a map: channels, rows or columns)
holds one element for all places along it, so that a gate (n, 1, 1) scales whole channels and a mask (1, p, q) all of them.
A region of two axes is rows (m, c); one of three or more is a map. A channel is a place along a map's channel axes, or
along the last axis of rows. Two coded operands are multiplied and summed in integers, exactly; any other pair as float32
numbers. A tail that does nothing but encode such sums as 32-bit codes of their own scale (input scale * weight scale)
writes the sums themselves, so that a later command takes up exactly where this one stopped; one that only adds such codes
to them before adds them as integers, so that sums can be made in parts.

The `dataflow` of conv and matmul says what lies still in the cells of the array while the rest streams by: the weights, the
outputs or the input (`weight_stationary`, `output_stationary`, `input_stationary`); `lanes` is the vector engine's way. It
changes how long a command takes, and no number.
"""

from typing import Literal

import msgspec

from nas.ir.tensor import FLOAT32, Format, Region

Activation = Literal[
    "none",
    "relu",
    "clip",
    "leaky_relu",
    "sigmoid",
    "hard_sigmoid",
    "hard_swish",
    "silu",
    "gelu",
    "gelu_tanh",
    "square",
    "rsqrt",
    "exp",
    "reciprocal",
    "sqrt",
    "log",
    "abs",
    "elu",
    "softplus",
    "mish",
]
# What stays in place while the rest streams by; "lanes" is the vector engine's way, one output a lane.
Dataflow = Literal["weight_stationary", "output_stationary", "input_stationary", "lanes"]


class Window(msgspec.Struct, frozen=True, cache_hash=True, omit_defaults=True, gc=False):
    """A sliding window: kernel, stride and dilation as (rows, columns); padding as (top, left, bottom, right)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def covers(self, height: int, width: int) -> tuple[bool, bool]:
        """Along rows and along columns: whether each place of a map of `height` x `width` lies in a window, and windows have no gaps."""
        count = self.output_size(height, width)
        rows, columns = (
            self.dilation[axis] == 1
            and self.stride[axis] <= self.kernel[axis]
            and (count[axis] - 1) * self.stride[axis] - self.padding[axis] + self.kernel[axis] >= size
            for axis, size in enumerate((height, width))
        )
        return rows, columns

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """The rows and columns that come out for `height` x `width` going in."""
        top, left, bottom, right = self.padding
        rows = (height + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.stride[0] + 1
        columns = (width + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.stride[1] + 1
        return rows, columns


class Tail(msgspec.Struct, frozen=True, cache_hash=True, omit_defaults=True, gc=False):
    """What happens to a result before it is written; see the page above."""

    table: bool = False
    multiply: Format | None = None
    add: Format | None = None
    activation: Activation = "none"
    low: float = 0.0
    high: float = 0.0
    output: Format = FLOAT32
    pool: Window | None = None


class Load(msgspec.Struct, frozen=True, cache_hash=True, tag="load", tag_field="op", gc=False):
    """Bring a box from dram into sram."""


class Store(msgspec.Struct, frozen=True, cache_hash=True, tag="store", tag_field="op", gc=False):
    """Take a box from sram to dram."""


class Conv(msgspec.Struct, frozen=True, cache_hash=True, tag="conv", tag_field="op", omit_defaults=True, gc=False):
    """Grouped 2-d cross-correlation with zero padding (the number 0, whatever its code), then the tail."""

    window: Window = Window()
    groups: int = 1
    input: Format = FLOAT32
    weight: Format = FLOAT32
    tail: Tail = Tail()
    dataflow: Dataflow = "weight_stationary"


class Matmul(msgspec.Struct, frozen=True, cache_hash=True, tag="matmul", tag_field="op", omit_defaults=True, gc=False):
    """rows (m, c) times weights (n, c) transposed, then the tail."""

    input: Format = FLOAT32
    weight: Format = FLOAT32
    tail: Tail = Tail()
    dataflow: Dataflow = "weight_stationary"


class Eltwise(
    msgspec.Struct, frozen=True, cache_hash=True, tag="eltwise", tag_field="op", omit_defaults=True, gc=False
):
    """The tail alone, element by element."""

    input: Format = FLOAT32
    tail: Tail = Tail()


class Pool(msgspec.Struct, frozen=True, cache_hash=True, tag="pool", tag_field="op", omit_defaults=True, gc=False):
    """Maximum (padding never wins; codes are compared as codes) or mean (of numbers, then encoded) of each window.

    count_padding: whether the padded places count in the mean's divisor.
    """

    kind: Literal["max", "mean"] = "max"
    window: Window = Window()
    count_padding: bool = True
    input: Format = FLOAT32
    output: Format = FLOAT32


class Copy(msgspec.Struct, frozen=True, cache_hash=True, tag="copy", tag_field="op", gc=False):
    """Move a box within sram, element by element in row-major order of both shapes."""


class Host(msgspec.Struct, frozen=True, cache_hash=True, tag="host", tag_field="op", omit_defaults=True, gc=False):
    """A function that no engine knows, on the host processor, on float32 tensors in dram.

    function: its public name, such as "torch.nn.functional.gelu"; arguments: JSON text of [positional, named], in which
    {"tensor": i} stands for read i.
    """

    function: str = ""
    arguments: str = "[[], {}]"


Attributes = Load | Store | Conv | Matmul | Eltwise | Pool | Copy | Host

OPS: dict[str, type] = {
    "load": Load,
    "store": Store,
    "conv": Conv,
    "matmul": Matmul,
    "eltwise": Eltwise,
    "pool": Pool,
    "copy": Copy,
    "host": Host,
}
_OP_OF = {kind: name for name, kind in OPS.items()}
ENGINES: dict[str, tuple[str, ...]] = {
    "load": ("dma_in",),
    "store": ("dma_out",),
    "conv": ("matrix", "vector"),
    "matmul": ("matrix", "vector"),
    "eltwise": ("vector",),
    "pool": ("vector",),
    "copy": ("vector",),
    "host": ("host",),
}


class Command(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """One tile of work of one engine. `layer` names the module of the network that it belongs to."""

    engine: str
    layer: str
    reads: tuple[Region, ...]
    writes: tuple[Region, ...]
    attributes: Attributes

    @property
    def op(self) -> str:
        return _OP_OF[type(self.attributes)]
