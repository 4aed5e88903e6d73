import pytest
import torch
from torch import Tensor, nn

from nas.train.machine.slow_kernels import without_slow_kernels


def _output(convolution, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return convolution(x)


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        (nn.Conv2d(8, 8, 5, 1, 2, groups=8), torch.float32),
        (nn.Conv2d(8, 8, 5, 2, 2, groups=8), torch.float32),
        (nn.Conv2d(8, 8, 3, 2, 1, groups=8), torch.float32),  # its bias is not of the other way
        (nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), torch.bfloat16),
        (nn.Conv2d(8, 8, 3, 1, 1, groups=8), torch.bfloat16),
        (nn.Conv2d(8, 8, 3, 2, 1), torch.bfloat16),
        (nn.Conv2d(8, 16, 3, 2, 1, groups=4), torch.bfloat16),
    ],
)
def test_only_depthwise_large_or_strided_convolutions_with_a_bias_leave_autocast(convolution, expected):
    x = torch.rand(2, 8, 9, 9)
    with without_slow_kernels(nn.Sequential(convolution)):
        assert _output(convolution, x).dtype == expected
    assert _output(convolution, x).dtype == torch.bfloat16  # as before the block
    assert "forward" not in vars(convolution)


def test_values_and_gradients_are_those_of_float32():
    convolution = nn.Conv2d(6, 6, 3, 2, 1, groups=6)
    x = torch.rand(2, 6, 8, 8, requires_grad=True)
    convolution(x).square().sum().backward()
    weight, inputs = convolution.weight.grad.clone(), x.grad.clone()
    convolution.weight.grad, x.grad = None, None
    with without_slow_kernels(convolution):
        _output(convolution, x).square().sum().backward()
    torch.testing.assert_close(convolution.weight.grad, weight)
    torch.testing.assert_close(x.grad, inputs)


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 2)])
@pytest.mark.parametrize(("padding", "dilation"), [(1, 1), (0, 1), (2, 2), ((0, 1), 1)])
@pytest.mark.parametrize("size", [(9, 8), (5, 12)])
def test_strided_depthwise_gradients_are_those_of_pytorch(stride, padding, dilation, size):
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(6, 6, 3, stride, padding, dilation, groups=6, bias=False)
    x = torch.randn(2, 6, *size, generator=generator).to(memory_format=torch.channels_last)
    x = x.bfloat16().float().requires_grad_()  # the same numbers in both types
    with torch.no_grad():
        convolution.weight.copy_(torch.randint(-2, 3, convolution.weight.shape, generator=generator))
    y = convolution(x)
    gradient = torch.randint(-2, 3, y.shape, generator=generator).float()
    expected = torch.autograd.grad(y, [x, convolution.weight], gradient)
    with without_slow_kernels(convolution):
        y = _output(convolution, x)
    assert y.dtype == torch.bfloat16
    found = torch.autograd.grad(y, [x, convolution.weight], gradient.bfloat16())
    assert torch.equal(found[0], expected[0])  # sums of a few small integers
    torch.testing.assert_close(found[1], expected[1], rtol=1e-2, atol=0.1)


@pytest.mark.parametrize("size", [1, (1, 1)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_mean_is_not_written_out(size, kind):
    x = torch.randn(2, 6, 3, 5).to(kind).to(memory_format=torch.channels_last).requires_grad_()
    pool = nn.AdaptiveAvgPool2d(size)
    gradient = torch.randn(2, 6, 1, 1).to(kind)
    expected = torch.autograd.grad(pool(x), x, gradient)[0]
    with without_slow_kernels(pool):
        y = pool(x)
        found = torch.autograd.grad(y, x, gradient)[0]
    assert torch.equal(y, pool(x))
    assert torch.equal(found, expected)
    assert found.untyped_storage().nbytes() == gradient.untyped_storage().nbytes()


@pytest.mark.parametrize("size", [3, 5])
def test_double_precision_stays(size):
    convolution = nn.Conv2d(6, 6, size, 2, 1, groups=6, bias=False).double()
    with without_slow_kernels(convolution):
        assert convolution(torch.rand(2, 6, 8, 8, dtype=torch.float64)).dtype == torch.float64


class _TwoBranches(nn.Module):
    """A ReLU into a part of a concatenation: its gradient comes in as a slice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return torch.cat([self.relu(self.first(x)), self.relu(self.second(x))], 1)


def _gradients(network, x):
    network.zero_grad()
    (network(x) * torch.arange(8.0).reshape(8, 1, 1)).sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


@pytest.fixture
def received(monkeypatch):
    """Whether each gradient came in dense, as far as anybody made it so."""
    dense, asked = Tensor.contiguous, []
    monkeypatch.setattr(
        Tensor, "contiguous", lambda self, **named: asked.append(self.is_contiguous(**named)) or dense(self, **named)
    )
    return asked


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_relu_gets_a_dense_gradient_of_the_same_values(layout, received):
    network = _TwoBranches().to(memory_format=layout)
    x = torch.randn(3, 4, 5, 5).to(memory_format=layout)
    expected = _gradients(network, x)
    assert not received
    with without_slow_kernels(network):
        found = _gradients(network, x)
    assert received == [False, False]  # they came in as slices
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_a_max_pool_that_is_flattened_gets_a_dense_gradient_of_the_same_values(received):
    layout = torch.channels_last
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 8)).to(
        memory_format=layout
    )
    x = torch.randn(3, 4, 6, 6).to(memory_format=layout)

    def gradients():
        network.zero_grad()
        network(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in network.parameters()]

    expected = gradients()
    assert not received
    with without_slow_kernels(network):
        found = gradients()
    assert received == [False]  # the linear layer's gradient lies channel by channel
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_network_is_restored_when_training_fails():
    convolution = nn.Conv2d(6, 6, 3, 2, 1, groups=6)
    with pytest.raises(ValueError, match="boom"), without_slow_kernels(convolution):
        raise ValueError("boom")
    assert "forward" not in vars(convolution)
