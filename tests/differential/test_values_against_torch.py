"""`nas.sim.values` against PyTorch: one command at a time, brought in by loads and taken out by a store."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.ir.command import Command, Conv, Eltwise, Load, Matmul, Pool, Store, Tail, Window
from nas.ir.program import Binding, Program
from nas.ir.tensor import FLOAT32, Format, dense, stored_bytes
from nas.sim.formats import encode, numbers
from nas.sim.memory import allocate, read_raw, write_raw
from nas.sim.values import run_values

SIGNED = Format(8, "code", 0.0371, 1, -128, 255)


def code(bits, scale=0.05, multiplier=1, offset=0):
    return Format({3: 4, 5: 8, 6: 8, 7: 8}.get(bits, bits), "code", scale, multiplier, offset, 2**bits - 1)


def dorefa(bits, scale):
    return code(bits, scale, 2, -(2**bits - 1))


class Bench:
    """Lays tensors out one after the other in dram and sram and runs one command on them."""

    def __init__(self):
        self.constants, self.bindings, self.commands, self.regions = {}, [], [], []
        self.used = {"dram": 3, "sram": 1}

    def place(self, memory, shape, bits):
        region = dense(memory, self.used[memory], shape, bits)
        self.used[memory] = region.end_bytes
        return region

    def operand(self, values, form):
        """A constant of these raw elements, loaded into sram. Returns its float32 numbers."""
        raw = np.asarray(values)
        home = self.place("dram", raw.shape, form.bits)
        local = self.place("sram", raw.shape, form.bits)
        memories = allocate({"dram": home.end_bytes})
        write_raw(memories, home, raw)
        name = f"c{len(self.bindings)}"
        self.constants[name] = memories["dram"][home.offset_bytes : home.end_bytes]
        self.bindings.append(Binding(name, home, form))
        self.commands.append(Command("dma_in", "load", (home,), (local,), Load()))
        self.regions.append(local)
        return torch.from_numpy(numbers(raw, form).astype(np.float32))

    def compute(self, engine, attributes, shape, form, reads):
        local = self.place("sram", shape, form.bits)
        self.commands.append(Command(engine, "layer", tuple(reads), (local,), attributes))
        return local

    def run(self, engine, attributes, shape, form, reads=None):
        local = self.compute(engine, attributes, shape, form, self.regions if reads is None else reads)
        home = self.place("dram", shape, form.bits)
        commands = (*self.commands, Command("dma_out", "layer", (local,), (home,), Store()))
        outputs, constants = (Binding("y", home, form),), tuple(self.bindings)
        program = Program("one", "any", "front_end", (), (), (), outputs, constants, commands, self.used)
        return run_values(program, self.constants, {})["y"]


def random_raw(generator, shape, form):
    if not form.is_code:
        return encode(generator.standard_normal(shape).astype(np.float32), form)
    return generator.integers(0, form.levels + 1, shape).astype(np.uint8)


def random_table(generator, channels):
    return encode(generator.standard_normal((2, channels)).astype(np.float32), FLOAT32)


def torch_conv(x, w, window, groups):
    top, left, bottom, right = window.padding
    padded = F.pad(x.double()[None], (left, right, top, bottom))
    return F.conv2d(padded, w.double(), None, window.stride, 0, window.dilation, groups)[0]


CONVS = [
    (3, 8, 1, Window((3, 3), (1, 1), (1, 1, 1, 1))),
    (4, 6, 2, Window((3, 2), (2, 1), (0, 1, 1, 0), (1, 2))),
    (6, 6, 6, Window((3, 3), (2, 2), (1, 1, 1, 1))),
    (3, 9, 3, Window((5, 1), (1, 3), (2, 0, 1, 0), (2, 1))),
    (7, 5, 1, Window()),
    (4, 8, 4, Window((2, 2), (3, 2), (0, 0, 2, 1))),
]
FORMATS = [
    (FLOAT32, FLOAT32),
    (code(4), dorefa(4, 0.11)),
    (code(1), dorefa(1, 0.3)),
    (code(2, 1 / 3), dorefa(8, 0.01)),
    (SIGNED, dorefa(3, 0.2)),
    (FLOAT32, dorefa(2, 0.4)),
    (code(8), FLOAT32),
]


@pytest.mark.parametrize(("channels", "out_channels", "groups", "window"), CONVS)
@pytest.mark.parametrize(("input_format", "weight_format"), FORMATS)
def test_conv(channels, out_channels, groups, window, input_format, weight_format):
    generator = np.random.default_rng(channels)
    bench = Bench()
    x = bench.operand(random_raw(generator, (channels, 9, 11), input_format), input_format)
    shape = (out_channels, channels // groups, *window.kernel)
    w = bench.operand(random_raw(generator, shape, weight_format), weight_format)
    rows, columns = window.output_size(9, 11)
    attributes = Conv(window, groups, input_format, weight_format)
    y = bench.run("matrix", attributes, (out_channels, rows, columns), FLOAT32)
    expected = torch_conv(x, w, window, groups)
    torch.testing.assert_close(torch.from_numpy(y).double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("input_format", "weight_format"), FORMATS)
def test_matmul(input_format, weight_format):
    generator = np.random.default_rng(7)
    bench = Bench()
    x = bench.operand(random_raw(generator, (5, 37), input_format), input_format)
    w = bench.operand(random_raw(generator, (11, 37), weight_format), weight_format)
    y = bench.run("matrix", Matmul(input_format, weight_format), (5, 11), FLOAT32)
    torch.testing.assert_close(torch.from_numpy(y).double(), x.double() @ w.double().T, rtol=1e-6, atol=1e-6)


def test_integer_sums_are_exact_where_float32_is_not():
    bench, form = Bench(), code(8, 1.0)
    bench.operand(np.full((1, 4000), 255, np.uint8), form)
    odd = np.full((1, 4000), 255, np.uint8)
    odd[0, 0] = 254
    bench.operand(odd, form)
    y = bench.run("matrix", Matmul(form, form), (1, 1), FLOAT32)
    assert int(y[0, 0]) == int(np.float32(255 * 255 * 4000 - 255))


def test_sums_that_wait_as_32_bit_codes_are_taken_up_exactly():
    """Sums beyond 2^24, stored between two commands, against one command that does it all."""
    generator = np.random.default_rng(11)
    form, weights = code(8, 0.0123), code(8, 1 / 255)
    raw_x, raw_w = generator.integers(128, 256, (5, 4000)), generator.integers(128, 256, (7, 4000))
    raw_table = random_table(generator, 7)
    sums = Format(32, "code", form.scale * weights.scale)
    results = []
    for split in (False, True):
        bench = Bench()
        for raw, kind in ((raw_x, form), (raw_w, weights), (raw_table, FLOAT32)):
            bench.operand(raw, kind)
        x, w, table = bench.regions
        if split:
            stored = bench.compute("matrix", Matmul(form, weights, Tail(output=sums)), (5, 7), sums, (x, w))
            y = bench.run("vector", Eltwise(sums, Tail(table=True)), (5, 7), FLOAT32, (stored, table))
        else:
            y = bench.run("matrix", Matmul(form, weights, Tail(table=True)), (5, 7), FLOAT32, (x, w, table))
        results.append(y)
    assert np.array_equal(*results)
    exact = (raw_x.astype(np.int64) @ raw_w.T.astype(np.int64)) * (form.scale * weights.scale)
    expected = exact * raw_table.view(np.float32)[0] + raw_table.view(np.float32)[1]
    np.testing.assert_allclose(results[0], expected, rtol=3e-7)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["map", "rows"])
def test_full_tail(bits, kind):
    """Table, gate, residual sum, clip, encode and (for maps) max pool, all steps of torch in float64 rounded once."""
    generator = np.random.default_rng(bits)
    shape = (6, 8, 9) if kind == "map" else (8, 6)
    form, out = code(4, 1 / 15), code(bits, 2.0 / (2**bits - 1))
    pool = Window((3, 2), (2, 2), (1, 0, 1, 1)) if kind == "map" else None
    tail = Tail(True, form, SIGNED, "clip", -0.5, 3.0, out, pool)
    bench = Bench()
    x = bench.operand(random_raw(generator, shape, form), form)
    table = bench.operand(random_table(generator, 6), FLOAT32).double()
    gate = (6, 1, 9) if kind == "map" else (1, 6)
    factor = bench.operand(random_raw(generator, gate, form), form)
    addend = bench.operand(random_raw(generator, shape, SIGNED), SIGNED)
    where = (slice(None), None, None) if kind == "map" else (None, slice(None))
    y = (x.double() * table[0][where] + table[1][where]).float()
    y = (y * factor + addend).clamp(-0.5, 3.0)
    codes = torch.mul(y, 1.0 / out.scale).round().clamp(0, out.levels)
    if pool is not None:
        top, left, bottom, right = pool.padding
        codes = F.max_pool2d(F.pad(codes[None], (left, right, top, bottom), value=-1.0), pool.kernel, pool.stride)[0]
    got = bench.run("vector", Eltwise(form, tail), tuple(codes.shape), out)
    assert np.array_equal(np.rint(got / np.float32(out.scale)), codes.numpy())


@pytest.mark.parametrize(
    ("activation", "reference"),
    [
        ("relu", F.relu),
        ("leaky_relu", lambda x: F.leaky_relu(x, 0.25)),
        ("sigmoid", torch.sigmoid),
        ("hard_sigmoid", F.hardsigmoid),
        ("hard_swish", F.hardswish),
        ("silu", F.silu),
        ("gelu", F.gelu),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("square", torch.square),
        ("rsqrt", torch.rsqrt),
        ("exp", torch.exp),
        ("reciprocal", torch.reciprocal),
        ("sqrt", torch.sqrt),
        ("log", torch.log),
        ("abs", torch.abs),
        ("elu", lambda x: F.elu(x, 0.25)),
        ("softplus", F.softplus),
        ("mish", F.mish),
    ],
)
def test_activations(activation, reference):
    bench = Bench()
    x = bench.operand(encode(np.linspace(-200, 200, 1001, dtype=np.float32).reshape(7, 143), FLOAT32), FLOAT32)
    y = bench.run("vector", Eltwise(FLOAT32, Tail(activation=activation, low=0.25)), (7, 143), FLOAT32)
    torch.testing.assert_close(torch.from_numpy(y), reference(x.double()).float(), rtol=2e-6, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("form", [FLOAT32, Format(16), code(4), SIGNED])
@pytest.mark.parametrize("window", [Window((2, 2), (2, 2)), Window((3, 3), (2, 1), (1, 1, 1, 1))])
def test_pools(form, window):
    generator = np.random.default_rng(3)
    for kind, count_padding in (("max", True), ("mean", True), ("mean", False)):
        bench = Bench()
        x = bench.operand(random_raw(generator, (3, 8, 10), form), form)
        output = form if kind == "max" else FLOAT32
        rows, columns = window.output_size(8, 10)
        y = bench.run("vector", Pool(kind, window, count_padding, form, output), (3, rows, columns), output)
        padding = window.padding[0]
        if kind == "max":
            expected = F.max_pool2d(x[None], window.kernel, window.stride, padding)[0]
        else:
            expected = F.avg_pool2d(x[None], window.kernel, window.stride, padding, False, count_padding)[0]
        torch.testing.assert_close(torch.from_numpy(y), expected, rtol=1e-6, atol=1e-7)


def test_bfloat16_rounds_as_torch():
    values = np.random.default_rng(0).standard_normal(4000).astype(np.float32) * 10.0 ** np.arange(-20, 20).repeat(100)
    values = values.astype(np.float32)
    values[:3] = np.nan, np.inf, -np.inf
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    assert np.array_equal(numbers(encode(values, Format(16)), Format(16)), expected, equal_nan=True)


def test_shuffled_channels_are_read_through_their_strides():
    """A map with several axes of channels is what torch calls channel_shuffle, without moving a byte."""
    raw = np.random.default_rng(1).integers(0, 16, (6, 4, 5)).astype(np.uint8)
    bench, form = Bench(), code(4)
    x = bench.operand(raw, form)
    w = bench.operand(np.random.default_rng(2).integers(0, 16, (2, 6, 1, 1)).astype(np.uint8), dorefa(4, 0.1))
    whole = bench.regions[0]
    plane, row, one = whole.strides
    # groups 2: channel c of the shuffled map is channel (c % 2) * 3 + c // 2 of the stored one.
    shuffled = type(whole)("sram", whole.offset_bytes, (3, 2, 4, 5), (plane, 3 * plane, row, one), 4)
    bench.regions[0] = shuffled
    y = bench.run("matrix", Conv(Window(), 1, form, dorefa(4, 0.1)), (2, 4, 5), FLOAT32)
    expected = F.conv2d(F.channel_shuffle(x[None], 2).double(), w.double())[0]
    torch.testing.assert_close(torch.from_numpy(y).double(), expected, rtol=1e-6, atol=1e-6)
    assert stored_bytes((6, 4, 5), 4) == whole.end_bytes - whole.offset_bytes
    assert np.array_equal(read_raw({"sram": np.zeros(200, np.uint8)}, shuffled), np.zeros((3, 2, 4, 5)))


def test_fused_and_naive_programs_agree_bit_for_bit():
    """conv with its whole tail, against conv to float32 followed by one command per step."""
    generator = np.random.default_rng(5)
    form, weights, out = code(4, 1 / 15), dorefa(4, 1 / 15), code(4, 1 / 15)
    window, pool = Window((3, 3), (1, 1), (1, 1, 1, 1)), Window((2, 2), (2, 2))
    raw_x, raw_w = random_raw(generator, (16, 8, 8), form), random_raw(generator, (8, 16, 3, 3), weights)
    raw_table, raw_add = random_table(generator, 8), random_raw(generator, (8, 8, 8), form)
    raw_gate = random_raw(generator, (8, 1, 1), form)

    fused = Bench()
    for raw, kind in ((raw_x, form), (raw_w, weights), (raw_table, FLOAT32), (raw_gate, form), (raw_add, form)):
        fused.operand(raw, kind)
    tail = Tail(True, form, form, "relu", output=out, pool=pool)
    got = fused.run("matrix", Conv(window, 1, form, weights, tail), (8, 4, 4), out)

    def step(engine, attributes, shape, kind, *operands):
        bench = Bench()
        for raw, operand_format in operands:
            bench.operand(raw, operand_format)
        return bench.run(engine, attributes, shape, kind)

    y = step("matrix", Conv(window, 1, form, weights), (8, 8, 8), FLOAT32, (raw_x, form), (raw_w, weights))
    for tail, operands in (
        (Tail(table=True), [(raw_table, FLOAT32)]),
        (Tail(multiply=form), [(raw_gate, form)]),
        (Tail(add=form), [(raw_add, form)]),
        (Tail(activation="relu"), []),
    ):
        first = (encode(y, FLOAT32), FLOAT32)
        y = step("vector", Eltwise(FLOAT32, tail), (8, 8, 8), FLOAT32, first, *operands)
    codes = encode(y, out)
    pooled = step("vector", Pool("max", pool, True, out, out), (8, 4, 4), out, (codes, out))
    assert np.array_equal(got, pooled)
    assert len(np.unique(got)) > 3
