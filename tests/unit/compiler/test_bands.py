"""Products with banded matrices are done in parts that leave the zeros out; the numbers and the price of a network don't change by it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.front_end.lower import network_of
from nas.compiler.network import Network
from nas.compiler.opt.rewrite.bands import Bands
from nas.compiler.opt.rewrite.fuse import Fuse
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.command import Conv, Window
from nas.sim.parallel import simulate_parallel
from tests.differential.test_compiler_against_torch import check_values

SHAPE = (1, 3, 40, 48)
EDGE_NPU = find_processor("edge_npu")


class _Upsampling(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.before, self.after, self.options = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 2, 1), options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(F.interpolate(F.relu(self.before(x)), **self.options).relu())  # type: ignore[arg-type]


def fused(module: nn.Module) -> Network:
    return run_passes((Fuse(),), network_of(module.eval(), (SHAPE,)), EDGE_NPU)


def products(network: Network) -> list[tuple[int, int]]:
    """(outputs, inputs) of what is no sliding window over pixels: the resizing, and the last convolution."""
    convolutions = [each for each in network.operators if isinstance(each.function, Conv)]
    one_by_one = [each for each in convolutions if each.function.window == Window()]  # type: ignore[union-attr]
    return [network.tensors[each.inputs[1]].shape[:2] for each in one_by_one]


def blocks(shapes: list[tuple[int, int]], processor: Processor) -> int:
    rows, columns = processor.matrix.rows, processor.matrix.columns
    return sum(-(-inputs // rows) * -(-outputs // columns) for outputs, inputs in shapes)


@pytest.mark.parametrize(
    "options", [{"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}, {"mode": "bicubic"}]
)
@pytest.mark.parametrize("processor_name", ["edge_npu", "micro_npu"])
def test_parts_read_what_their_outputs_depend_on(options: dict[str, object], processor_name: str) -> None:
    processor, network = find_processor(processor_name), fused(_Upsampling(size=(80, 100), **options))
    cut = run_passes((Bands(),), network, processor)
    assert blocks(products(cut), processor) <= 0.6 * blocks(products(network), processor)
    assert sum(outputs for outputs, _ in products(cut)) == sum(outputs for outputs, _ in products(network))
    for operator in cut.operators:
        if isinstance(operator.function, Conv) and operator.function.window == Window():
            tensor, stored = cut.tensors[operator.inputs[1]], cut.constants[operator.inputs[1]]
            weights = stored.view(np.float32).reshape(tensor.shape[:2])
            assert weights[:, 0].any()
            assert weights[:, -1].any()


def test_what_has_no_band_is_let_be() -> None:
    network = fused(nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1)))
    assert run_passes((Bands(),), network, EDGE_NPU) is network
    whole = fused(_Upsampling(size=(2, 100), mode="area"))
    assert blocks(products(run_passes((Bands(),), whole, EDGE_NPU)), EDGE_NPU) <= blocks(products(whole), EDGE_NPU)


def test_an_array_as_wide_as_the_matrix_takes_it_whole() -> None:
    network = fused(_Upsampling(scale_factor=2, mode="bilinear"))
    assert run_passes((Bands(),), network, find_processor("server_npu")) is network


@pytest.mark.parametrize("bits", ["float", "bfloat16", "int8"])
def test_values_and_prices(bits) -> None:
    module = _Upsampling(scale_factor=(2.0, 2.5), mode="bilinear").eval()
    precision = Precision(bits)
    compiled = compile_network(module, SHAPE, EDGE_NPU, precision=precision)
    assert isinstance(compiled, Compiled), str(compiled)
    assert len(products_of(compiled)) > 3
    check_values(compiled, {"float": 2e-6, "bfloat16": 2e-2, "int8": 5e-2}[bits], orders=1)
    priced = compile_network(module.to("meta"), SHAPE, EDGE_NPU, precision=precision)
    assert isinstance(priced, Compiled), str(priced)
    cycles = [simulate_parallel(each.parallel, EDGE_NPU).cycles for each in (compiled, priced)]
    assert cycles[0] == cycles[1]


def products_of(compiled: Compiled) -> list[Conv]:
    functions = [operator.function for operator in compiled.optimised.operators]
    return [each for each in functions if isinstance(each, Conv) and each.window == Window()]
