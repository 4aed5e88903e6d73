"""Float tensors -> float tensors that hold only a few values, with gradients straight through the rounding.

DoReFa-Net, arXiv 1606.06160. With quantize_k(r) = round((2^k - 1) r) / (2^k - 1):

    activations  quantize_k(clip(r, 0, 1))
    weights      1 bit: sign(r) E|r|        k bits: 2 quantize_k(tanh(r) / (2 max|tanh r|) + 1/2) - 1
    gradients    2 m [quantize_k(dr / (2 m) + 1/2 + N) - 1/2],  m = max|dr| of the sample,  |N| <= 1 / (2 (2^k - 1))

Where we differ: an activation quantiser may have another range than [0, 1], also a signed one, which the linear layers
of MobileNet and ShuffleNet need; and a weight quantiser may keep its layer's magnitude, for a layer that no batch norm
follows.

How a compiler reads the integers (it recognises quantisers by these two methods, not by their class):

    ActivationQuantizer.integer_format() -> (bits, scale, zero)
        output = scale * (code - zero),  code = clip(round(x * (1 / scale)) + zero, 0, 2^bits - 1), ties to even
    WeightQuantizer.integer_codes(weight) -> (codes, scale, multiplier, offset)
        quantised weight = scale * (multiplier * code + offset),  code in 0 .. 2^bits - 1

`bits` is 1 to 32. With 32 a weight quantiser is the identity and an activation quantiser a plain clip to [low, high]. From
9 bits on there are no integer codes: engines take 8 at most, and what is finer runs in float.
"""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from models.bits import FULL_PRECISION_BITS, LARGEST_CODE_BITS, require_bits


class ActivationQuantizer(nn.Module):
    """Clips to [low, high] and rounds to 2^bits evenly spaced values, one of which is 0.

    With low = 0 the values are 0 .. high inclusive, DoReFa's quantiser. With low < 0 the step is (high - low) / 2^bits
    and the highest value lies one step below `high`, as in two's complement: 0 has a code of its own.
    """

    def __init__(self, bits: int, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        require_bits(activation_bits=bits)
        if not low <= 0.0 < high:
            raise ValueError(f"an activation range must hold 0 and end above it, got [{low}, {high}]")
        self.bits, self.low, self.high = bits, float(low), float(high)
        levels = 2**bits
        if bits == FULL_PRECISION_BITS:
            self.scale, self.zero = 1.0, 0
        elif low == 0.0:
            self.scale, self.zero = high / (levels - 1), 0
        else:
            self.scale = (high - low) / levels
            self.zero = min(round(-low / self.scale), levels - 1)
        self._last_code = levels - 1

    def forward(self, x: Tensor) -> Tensor:
        if self.bits == FULL_PRECISION_BITS:
            return F.hardtanh(x, self.low, self.high)
        quantised: Tensor = _RoundToGrid.apply(x, self.scale, -self.zero, self._last_code - self.zero)
        # The number of a code is what float32 holds of it, as engines have it. In float64, in which the truth about a
        # trained network is computed, that decides where values go that lie halfway between two of another grid.
        exact = x.dtype == torch.float64 and not self.training
        return quantised.float().double() if exact else quantised

    def integer_format(self) -> tuple[int, float, int]:
        """(bits, scale, zero): the output is scale * (code - zero). At 32 bits: (32, 1.0, 0), plain numbers."""
        return self.bits, self.scale, self.zero

    def extra_repr(self) -> str:
        return f"bits={self.bits}, low={self.low:g}, high={self.high:g}"


class WeightQuantizer(nn.Module):
    """DoReFa's weight quantiser.

    keep_magnitude: multiply the k-bit result by max|tanh r|, so that it approximates tanh(r) rather than filling
    [-1, 1]. For a layer whose outputs nothing normalises, such as a classifier. One bit always keeps E|r|.
    """

    def __init__(self, bits: int, keep_magnitude: bool = False) -> None:
        super().__init__()
        require_bits(weight_bits=bits)
        self.bits, self.keep_magnitude = bits, keep_magnitude
        self._last_code = 2**bits - 1

    def forward(self, weight: Tensor) -> Tensor:
        if self.bits == FULL_PRECISION_BITS:
            return weight
        if self.bits == 1:
            quantised: Tensor = _SignTimesMean.apply(weight)
            return quantised
        unit, magnitude = self._unit_interval(weight)
        scale = self._scale(magnitude)
        codes: Tensor = _Round.apply(unit * self._last_code)
        return (2.0 * codes - self._last_code) * scale

    def integer_codes(self, weight: Tensor) -> tuple[Tensor, float, int, int]:
        """(codes, scale, multiplier, offset): forward(weight) is scale * (multiplier * codes + offset).

        codes: uint8 of the weight's shape, 0 .. 2^bits - 1. Raises ValueError above 8 bits, which have no codes.
        """
        if self.bits > LARGEST_CODE_BITS:
            raise ValueError(
                f"a weight quantiser of {self.bits} bits has no integer codes, {LARGEST_CODE_BITS} at most have"
            )
        with torch.no_grad():
            if self.bits == 1:
                return (weight >= 0).to(torch.uint8), float(weight.abs().mean()), 2, -1
            unit, magnitude = self._unit_interval(weight)
            codes = torch.round(unit * self._last_code).to(torch.uint8)
            return codes, float(self._scale(magnitude)), 2, -self._last_code

    def _unit_interval(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weights squeezed into [0, 1], and the magnitude max|tanh r| that 0 and 1 stand for."""
        squeezed = torch.tanh(weight)
        magnitude = squeezed.abs().amax()
        # A layer of zeros has the magnitude 0; its weights stay as near to zero as the grid can say.
        return squeezed / (2.0 * magnitude + (magnitude == 0)) + 0.5, magnitude

    def _scale(self, magnitude: Tensor) -> Tensor | float:
        return magnitude / self._last_code if self.keep_magnitude else 1.0 / self._last_code

    def extra_repr(self) -> str:
        return f"bits={self.bits}" + (", keep_magnitude=True" if self.keep_magnitude else "")


class GradientQuantizer(nn.Module):
    """The identity forward; backward it quantises the gradient with noise drawn anew for each element.

    The n-th backward pass draws from a generator of its own, seeded by (seed, n), and n is part of the state_dict: a
    resumed training sees the same noise. Each of several processes draws its own, or their mean would be as noisy as one.
    """

    def __init__(self, bits: int, seed: int = 0) -> None:
        super().__init__()
        require_bits(gradient_bits=bits)
        self.bits, self.seed, self.draws = bits, seed, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.bits == FULL_PRECISION_BITS or not torch.is_grad_enabled():
            return x
        passed: Tensor = _QuantiseGradient.apply(x, self)
        return passed

    def quantise(self, gradient: Tensor) -> Tensor:
        """The gradient of a batch (first axis: samples), quantised; a sample of zeros stays zero."""
        levels = 2**self.bits - 1
        # Sums in half precision would lose more than few bits do.
        wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        width = 2.0 * wide.abs().amax(tuple(range(1, wide.dim())), keepdim=True)
        inverse = torch.where(width > torch.finfo(torch.float32).tiny, 1.0 / width, 0.0)
        # In place, in the gradient's own layout: most of the time of a pass like this is memory traffic.
        codes = self._noise(wide).add_(levels / 2).addcmul_(wide, inverse, value=levels).round_()
        # Rounding of a tie at the extreme could reach past the range: the clip keeps it to 2^bits levels.
        return codes.clamp_(0, levels).mul_(width / levels).sub_(width / 2).to(gradient.dtype)

    def _noise(self, like: Tensor) -> Tensor:
        """Numbers of -1/2 .. 1/2, one for each element, laid out as `like` is."""
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        state = np.random.SeedSequence([self.seed, self.draws], spawn_key=(rank,) if rank else ())
        self.draws += 1
        noise = torch.empty_like(like)
        if like.device.type != "cpu" or self.bits > LARGEST_CODE_BITS:
            generator = torch.Generator(like.device).manual_seed(
                int(state.generate_state(1, np.uint64)[0] >> np.uint64(1))
            )
            return noise.uniform_(-0.5, 0.5, generator=generator)
        # 16 bits an element are plenty for 8 bits of gradient, and ten times faster than floats from torch's generator.
        words = np.random.Generator(np.random.PCG64(state)).integers(0, 2**64, -(-like.numel() // 4), dtype=np.uint64)
        draws = torch.from_numpy(words.view(np.int16))[: like.numel()]
        noise.as_strided((like.numel(),), (1,)).copy_(draws)
        return noise.add_(0.5).mul_(2.0**-16)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.draws)

    def set_extra_state(self, state: Any) -> None:
        self.draws = int(state)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class _RoundToGrid(torch.autograd.Function):
    """x -> scale * clip(round(x / scale), low_code, high_code); the gradient passes inside the range, ends included."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, low_code: int, high_code: int) -> Tensor:
        # hardtanh_backward, one fused kernel and several times faster than a mask, leaves the ends of its range out:
        # the next float32 outwards takes them in. Values that are already on the grid lie exactly on the ends.
        # (Beside 0 that is a normal number, as a process may flush the others to zero.)
        low = np.nextafter(np.float32(scale * low_code), np.float32(-np.inf))
        ctx.low = float(low) if low_code else -float(np.finfo(np.float32).tiny)
        ctx.high = float(np.nextafter(np.float32(scale * high_code), np.float32(np.inf)))
        ctx.save_for_backward(x)
        return torch.mul(x, 1.0 / scale).round_().clamp_(low_code, high_code).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], x, ctx.low, ctx.high), None, None, None


class _Round(torch.autograd.Function):
    """Rounding with the gradient straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class _SignTimesMean(torch.autograd.Function):
    """sign(w) * E|w| with sign(0) = +1 and the gradient straight through."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        mean = weight.abs().mean()
        return torch.where(weight >= 0, mean, -mean)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class _QuantiseGradient(torch.autograd.Function):
    """The identity whose gradient passes the quantiser. A copy, for what follows may write in place, as some ReLUs do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantizer: GradientQuantizer) -> Tensor:
        ctx.quantizer = quantizer
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.quantizer.quantise(gradients[0]), None
