"""The quantisers against the equations of arXiv 1606.06160, re-coded here in numpy and plain Python."""

import math

import numpy as np
import pytest
import torch

from models.bits import Bits
from models.quantized_layers import QuantConv2d, QuantLinear
from models.quantizers import ActivationQuantizer, GradientQuantizer, WeightQuantizer


def quantize_k(r: np.ndarray, bits: int) -> np.ndarray:
    levels = 2**bits - 1
    return np.round(levels * r) / levels


@pytest.mark.parametrize("bits", range(1, 9))
def test_activations_are_dorefas(bits: int) -> None:
    x = torch.linspace(-0.7, 1.6, 4001, dtype=torch.float64)
    expected = quantize_k(np.clip(x.numpy(), 0, 1), bits)
    np.testing.assert_allclose(ActivationQuantizer(bits)(x).numpy(), expected, rtol=0, atol=1e-15)


def test_uint8_images_pass_eight_bits_without_loss() -> None:
    codes = torch.arange(256)
    quantizer = ActivationQuantizer(8)
    _, scale, zero = quantizer.integer_format()
    out = quantizer(codes.float() / 255)
    assert torch.equal(out, scale * (codes.float() - zero))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 6.0), (-4.0, 4.0), (-2.0, 2.0), (-1.0, 3.0)])
@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_outputs_are_the_codes_of_the_integer_format(bits: int, low: float, high: float) -> None:
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(bits)) * 3
    quantizer = ActivationQuantizer(bits, low, high)
    format_bits, scale, zero = quantizer.integer_format()
    assert format_bits == bits
    assert isinstance(zero, int)
    assert 0 <= zero < 2**bits
    code = torch.clamp(torch.round(x * (1 / scale)) + zero, 0, 2**bits - 1)
    out = quantizer(x)
    assert torch.equal(out, (code - zero) * scale)
    assert torch.equal(quantizer(out), out), "a grid value must stay what it is"
    assert float(quantizer(torch.zeros(1))) == 0.0
    # No code lies further from its value than half a step, but for what the range cuts off.
    inside = (x >= scale * -zero) & (x <= scale * (2**bits - 1 - zero))
    assert float((out - x)[inside].abs().max()) <= scale / 2 * (1 + 1e-5)


def test_activation_gradient_passes_in_the_range_with_its_ends() -> None:
    x = torch.tensor([-0.5, -1e-6, 0.0, 0.2, 1.0, 1.000001, 1.5], requires_grad=True)
    ActivationQuantizer(2)(x).backward(torch.full((7,), 3.0))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 3, 3, 3, 0, 0]
    x = torch.tensor([-2.1, -2.0, 1.0, 1.1], requires_grad=True)  # the values are -2 -1 0 1
    ActivationQuantizer(2, -2.0, 2.0)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_full_precision_is_a_clip_and_an_identity() -> None:
    x = torch.tensor([-1.0, 0.3, 2.0])
    assert torch.equal(ActivationQuantizer(32)(x), torch.tensor([0.0, 0.3, 1.0]))
    assert WeightQuantizer(32)(x) is x
    assert GradientQuantizer(32)(x) is x
    with pytest.raises(ValueError, match="no integer codes"):
        WeightQuantizer(32).integer_codes(x)


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 31, or 32 for full precision, got {bits}"):
        ActivationQuantizer(bits)
    with pytest.raises(ValueError, match="weight_bits must be"):
        WeightQuantizer(bits)


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.0), (-1.0, 0.0), (1.0, 0.0)])
def test_ranges_without_zero_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="must hold 0"):
        ActivationQuantizer(4, low, high)


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_are_dorefas(bits: int) -> None:
    weight = torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(bits), dtype=torch.float64) * 0.3
    squeezed = np.tanh(weight.numpy())
    expected = 2 * quantize_k(squeezed / (2 * np.abs(squeezed).max()) + 0.5, bits) - 1
    np.testing.assert_allclose(WeightQuantizer(bits)(weight).numpy(), expected, rtol=0, atol=1e-15)
    kept = WeightQuantizer(bits, keep_magnitude=True)(weight).numpy()
    np.testing.assert_allclose(kept, expected * np.abs(squeezed).max(), rtol=0, atol=1e-15)


def test_one_bit_weights_are_signs_times_the_mean() -> None:
    weight = torch.tensor([[0.5, -0.25], [0.0, -0.05]], requires_grad=True)
    out = WeightQuantizer(1)(weight)
    torch.testing.assert_close(out, torch.tensor([[0.2, -0.2], [0.2, -0.2]]))
    gradient = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    out.backward(gradient)
    assert weight.grad is not None
    assert torch.equal(weight.grad, gradient), "the paper's gradient of one bit is the identity"


def test_weight_gradient_is_the_chain_through_tanh() -> None:
    weight = torch.tensor([0.3, -0.8, 0.1], dtype=torch.float64, requires_grad=True)
    upstream = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    WeightQuantizer(3)(weight).backward(upstream)
    reference = weight.detach().clone().requires_grad_()
    (torch.tanh(reference) / torch.tanh(reference).abs().max()).backward(upstream)
    torch.testing.assert_close(weight.grad, reference.grad)


@pytest.mark.parametrize("keep_magnitude", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
def test_integer_codes_say_the_weights_exactly(bits: int, keep_magnitude: bool) -> None:
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(bits))
    quantizer = WeightQuantizer(bits, keep_magnitude)
    codes, scale, multiplier, offset = quantizer.integer_codes(weight)
    assert codes.dtype == torch.uint8
    assert codes.shape == weight.shape
    assert int(codes.max()) <= 2**bits - 1
    assert torch.equal((multiplier * codes.float() + offset) * scale, quantizer(weight))


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_a_layer_of_zeros_is_finite_and_trains_on(bits: int) -> None:
    weight = torch.zeros(4, 4, requires_grad=True)
    out = WeightQuantizer(bits)(weight)
    out.sum().backward()
    assert weight.grad is not None
    assert torch.isfinite(out).all()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gradients_follow_the_papers_equation(bits: int) -> None:
    gradient = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    gradient[2] = 0.0
    quantizer = GradientQuantizer(bits, seed=5)
    out = quantizer.quantise(gradient)
    levels = 2**bits - 1
    for sample, quantised in zip(gradient.numpy(), out.numpy(), strict=True):
        largest = np.abs(sample).max()
        if largest == 0.0:
            assert not quantised.any()
            continue
        grid = (quantised / (2 * largest) + 0.5) * levels
        np.testing.assert_allclose(grid, np.round(grid), atol=1e-4)
        # The noise is below half a step, and so is the rounding: no element moves by a step or more.
        assert np.abs(quantised - sample).max() <= 2 * largest / levels * (1 + 1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 5), (3, 1), (2, 2, 3)])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8, 12])
def test_gradients_are_the_papers_element_by_element(bits: int, shape: tuple[int, ...], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Equation 12 in plain Python, with the very noise that the quantiser draws."""
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(bits), dtype=torch.float64)
    gradient[1] *= 1e-30
    gradient[0] = 0.0
    drawn: list[torch.Tensor] = []
    draw = GradientQuantizer._noise
    monkeypatch.setattr(GradientQuantizer, "_noise", lambda *a: drawn.append(draw(*a)) or drawn[-1].clone())
    out = GradientQuantizer(bits, seed=3).quantise(gradient)
    (uniform,) = drawn
    assert uniform.shape == gradient.shape
    assert float(uniform.abs().max()) <= 0.5
    levels = 2**bits - 1
    for sample in range(shape[0]):
        m = max(abs(value) for value in gradient[sample].flatten().tolist())
        numbers = zip(gradient[sample].flatten().tolist(), uniform[sample].flatten().tolist(), strict=True)
        for index, (dr, sigma) in enumerate(numbers):
            got = out[sample].flatten()[index].item()
            if m == 0.0:
                assert got == 0.0
                continue
            noise = sigma / levels
            # Noise of just half a step may push an extreme element beyond the range, where there is no level.
            expected = 2 * m * (min(max(round(levels * (dr / (2 * m) + 0.5 + noise)), 0), levels) / levels - 0.5)
            assert math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12 * m), (sample, index)


@pytest.mark.parametrize("bits", [4, 12])
def test_gradient_noise_is_uniform_and_has_no_pattern(bits: int) -> None:
    """Moments, bins and neighbours of a million draws, in any layout; each bound is five sigmas wide."""
    like = torch.empty(16, 16, 64, 64).to(memory_format=torch.channels_last)
    noise = GradientQuantizer(bits, seed=9)._noise(like)
    assert noise.stride() == like.stride()
    count = noise.numel()
    assert abs(float(noise.double().mean())) < 5 * (1 / 12 / count) ** 0.5
    assert abs(float(noise.double().square().mean()) - 1 / 12) < 5 * (1 / 180 / count) ** 0.5
    bins = torch.histc(noise, 64, -0.5, 0.5)
    assert float((bins - count / 64).abs().max()) < 5 * (count / 64) ** 0.5
    flat = noise.permute(0, 2, 3, 1).flatten().double()
    for lag in (1, 2, 3, 4, 16, 64):
        assert abs(float((flat[lag:] * flat[:-lag]).mean())) < 5 / 12 / count**0.5, lag
    assert torch.equal(noise, GradientQuantizer(bits, seed=9)._noise(like))
    assert not torch.equal(noise, GradientQuantizer(bits, seed=8)._noise(like))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision_are_rounded_once(dtype: torch.dtype) -> None:
    gradient = (torch.randn(4, 500, generator=torch.Generator().manual_seed(1)) * 9e3).to(dtype)
    gradient[0] = 60000.0  # twice that is no float16
    out, wide = (GradientQuantizer(8, seed=1).quantise(each) for each in (gradient, gradient.float()))
    assert out.dtype == dtype
    assert torch.equal(out, wide.to(dtype))
    assert torch.isfinite(out).all()


def test_a_quantiser_needs_no_gradient_to_predict() -> None:
    quantizer, x = GradientQuantizer(2), torch.ones(2, 3, requires_grad=True)
    with torch.no_grad():
        assert quantizer(x) is x


@pytest.mark.parametrize("bits", [9, 16, 24, 31])
def test_many_bits_are_nearly_full_precision(bits: int) -> None:
    x = torch.rand(1000, generator=torch.Generator().manual_seed(bits))
    torch.testing.assert_close(ActivationQuantizer(bits)(x), x, rtol=0, atol=2.0**-bits + 1e-7)
    torch.testing.assert_close(
        WeightQuantizer(bits, keep_magnitude=True)(x), torch.tanh(x), rtol=0, atol=2.0**-bits + 1e-6
    )
    with pytest.raises(ValueError, match="no integer codes"):
        WeightQuantizer(bits).integer_codes(x)


def test_gradient_noise_is_unbiased_and_drawn_per_element() -> None:
    gradient = torch.full((1, 4096), 0.3)
    gradient[0, 0] = 1.0
    quantizer = GradientQuantizer(2, seed=1)
    out = quantizer.quantise(gradient)[0, 1:]
    values, counts = out.unique(return_counts=True)
    assert len(values) == 2, "one draw for the whole sample would round every element the same way"
    # 0.3 lies between 1/3 and -1/3 of the 2-bit grid {-1, -1/3, 1/3, 1}; the mean of 4095 draws has a sigma of 0.0022.
    assert math.isclose(float((values * counts).sum() / counts.sum()), 0.3, abs_tol=0.011)
    assert not torch.equal(out, quantizer.quantise(gradient)[0, 1:]), "each pass draws anew"


def test_gradient_noise_resumes_with_the_state() -> None:
    gradient = torch.randn(2, 50, generator=torch.Generator().manual_seed(1))
    first, second = GradientQuantizer(3, seed=2), GradientQuantizer(3, seed=2)
    first.quantise(gradient)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.quantise(gradient), second.quantise(gradient))


def test_each_of_several_processes_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = torch.linspace(-1, 1, 64).view(1, 64)
    alone = GradientQuantizer(4).quantise(gradient)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    ranks = []
    for rank in range(3):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        ranks.append(GradientQuantizer(4).quantise(gradient))
    assert torch.equal(ranks[0], alone)
    assert not torch.equal(ranks[0], ranks[1])
    assert not torch.equal(ranks[1], ranks[2])


def test_gradient_quantiser_acts_in_the_backward_pass_only() -> None:
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(1), requires_grad=True)
    quantizer = GradientQuantizer(1)
    out = quantizer(x)
    assert torch.equal(out, x)
    upstream = torch.randn(3, 20, generator=torch.Generator().manual_seed(2))
    out.backward(upstream)
    assert x.grad is not None
    largest = upstream.abs().amax(1, keepdim=True)
    torch.testing.assert_close(x.grad.abs(), largest.expand(3, 20))


def test_quantised_layers_are_the_layers_of_quantised_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, 9, generator=generator)
    for bias in (False, True):
        conv = QuantConv2d(torch.nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 4), (1, 2), 2, bias), Bits(weight=3))
        weight = WeightQuantizer(3, keep_magnitude=bias)(conv.weight)
        plain = torch.nn.functional.conv2d(x, weight, conv.bias, (2, 1), (1, 4), (1, 2), 2)
        torch.testing.assert_close(conv(x), plain)
    linear = QuantLinear(torch.nn.Linear(9, 5), Bits(weight=1))
    torch.testing.assert_close(linear(x), x @ WeightQuantizer(1)(linear.weight).T + linear.bias)


def test_codes_have_the_numbers_of_float32_also_in_a_float64_network() -> None:
    """2.8 of a 4-bit grid lies halfway between two 8-bit codes; float32's 2.8, which engines have, lies below."""
    fine, coarse = ActivationQuantizer(8, 0.0, 4.0).eval(), ActivationQuantizer(4, 0.0, 3.0).eval()
    x = torch.tensor([2.8], dtype=torch.float64)
    number = coarse(x)
    assert number.dtype == torch.float64
    assert float(number) == float(np.float32(2.8))
    assert round(float(fine(number)) * 255 / 4) == 178
