"""Random small networks for tests: any mix of the layers that the engines know, and some that only the host does."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import models

_MORE = ("gate", "mask", "scalars", "tokens", "rows", "attention")


class RandomNetwork(nn.Module):
    """A few random layers with branches, in any legal combination; the same generator gives the same network."""

    def __init__(self, generator: np.random.Generator, channels: int = 3, depth: int = 5) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self.kinds: list[str] = []
        for _ in range(depth):
            kind = str(
                generator.choice(
                    ["conv", "depthwise", "pool", "mean", "sum", "concat", "shuffle", "slice", "host", *_MORE]
                )
            )
            step: nn.Module = nn.Identity()
            if kind == "conv":
                groups = int(generator.choice([group for group in (1, 2, 3) if channels % group == 0]))
                width = groups * int(generator.integers(1, 5))
                kernel, dilation = int(generator.choice([1, 2, 3, 5])), int(generator.integers(1, 3))
                step = nn.Sequential(
                    nn.Conv2d(
                        channels,
                        width,
                        kernel,
                        stride=int(generator.integers(1, 3)),
                        padding=dilation * (kernel // 2) + int(generator.integers(0, 2)),
                        dilation=dilation,
                        groups=groups,
                        bias=bool(generator.integers(2)),
                    ),
                    nn.BatchNorm2d(width) if generator.integers(2) else nn.Identity(),
                    [nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.SiLU(), nn.Identity()][int(generator.integers(5))],
                )
                channels = width
            elif kind == "depthwise":
                step = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
            elif kind == "pool":
                step = nn.MaxPool2d(int(generator.integers(2, 4)), stride=int(generator.integers(1, 3)), padding=1)
            elif kind == "mean":
                step = nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=bool(generator.integers(2)))
            elif kind in ("sum", "concat"):
                step = nn.Conv2d(channels, channels, 3, padding=1)
                channels *= 2 if kind == "concat" else 1
            elif kind == "slice":
                channels = max(1, channels // 2)
            elif kind == "host":
                step = nn.Mish()
            elif kind == "gate":
                step = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Hardsigmoid())
            elif kind == "mask":
                step = nn.Sequential(nn.Conv2d(channels, 1, 3, padding=1), nn.Sigmoid())
            elif kind == "tokens":
                step = nn.Linear(channels, channels + 1)
                if channels > 2 and generator.integers(2):
                    step = nn.Sequential(nn.LayerNorm(channels), step, nn.GELU())
                channels += 1
            if kind == "shuffle" and channels % 2:
                kind = "nothing"
            self.steps.append(step)
            self.kinds.append(kind)
        self.head = nn.Linear(channels, 5)
        self._draw_statistics(generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kind, step in zip(self.kinds, self.steps, strict=True):
            if kind == "sum":
                x = x + step(x)
            elif kind == "concat":
                x = torch.cat([step(x), x], 1)
            elif kind == "shuffle":
                batch, channels, rows, columns = x.shape
                x = (
                    x.view(batch, 2, channels // 2, rows, columns)
                    .transpose(1, 2)
                    .reshape(batch, channels, rows, columns)
                )
            elif kind in ("gate", "mask"):
                x = x * step(x)
            elif kind == "scalars":
                x = 1.5 - x / 2
            elif kind == "tokens":
                x = step(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            elif kind == "attention":
                queries, keys = x.flatten(2).mT, F.avg_pool2d(x, 2, ceil_mode=True).flatten(2)
                x = (keys @ (queries @ keys).softmax(-1).mT).view(x.shape)
            elif kind == "rows":
                x = torch.cat([x[:, :, 1:], x[:, :, :1]], 2)
            elif kind == "slice":
                x = x[:, : max(1, x.shape[1] // 2)]
            elif kind != "nothing":
                x = step(x)
        return self.head(x.mean((2, 3)))

    def _draw_statistics(self, generator: np.random.Generator) -> None:
        torch_generator = torch.Generator().manual_seed(int(generator.integers(2**31)))
        draw_statistics(self, torch_generator)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0.0, 0.4, generator=torch_generator)


class RandomBranches(nn.Module):
    """Branches beside each other that are traced level by level, so that the maps of all of them live at a time.

    Each level of a branch is a convolution, a depthwise one, or a sum with what came before; the ends are joined.
    """

    def __init__(self, generator: np.random.Generator, levels: int = 3) -> None:
        super().__init__()
        channels = int(generator.integers(2, 9))
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.branches = nn.ModuleList()
        for _ in range(int(generator.integers(2, 5))):
            width, steps = channels, nn.ModuleList()
            for _ in range(int(generator.integers(1, levels + 1))):
                kind = int(generator.integers(3))
                wide = width if kind else int(generator.integers(1, 33))
                groups = width if kind == 1 else 1
                step = nn.Conv2d(width, wide, int(generator.choice([1, 3])), padding="same", groups=groups)
                steps.append(nn.Sequential(step, nn.ReLU()) if kind < 2 else _Residual(step))
                width = wide
            steps.append(nn.Conv2d(width, 4, 3, stride=2, padding=1))
            self.branches.append(steps)
        self.concat = bool(generator.integers(2))
        self.head = nn.Conv2d(4 * len(self.branches) if self.concat else 4, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        ends = [x] * len(self.branches)
        for level in range(max(map(len, self.branches))):
            ends = [
                steps[level](end) if level < len(steps) else end for steps, end in zip(self.branches, ends, strict=True)
            ]
        joined = torch.cat(ends, 1) if self.concat else sum(ends[1:], ends[0])
        return self.head(torch.relu(joined)).mean((2, 3))


class _Residual(nn.Module):
    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.step(x))


def draw_statistics(model: nn.Module, generator: torch.Generator) -> None:
    """Batch norms with statistics of their own, as after training: fresh ones are the identity and hide mistakes."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, 0.0, 0.3, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 2.0, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0.2, 0.3, generator=generator)


def random_arch(generator: np.random.Generator, quantised: bool) -> models.Arch:
    """A small searchable network with random blocks, widths and bits."""
    stages = []
    for _ in range(int(generator.integers(1, 4))):
        block = str(generator.choice(["conv", "mobile_v2", "shuffle_v2"]))
        stages.append(
            {
                "block": block,
                "depth": int(generator.integers(1, 3)),
                "width": 4 * int(generator.integers(1, 6)),
                "kernel": int(generator.choice([3, 5])),
                "stride": int(generator.integers(1, 3)),
                "expansion": int(generator.integers(1, 4)),
                "weight_bits": int(generator.choice([1, 2, 3, 4, 8])) if quantised else 32,
                "activation_bits": int(generator.choice([1, 2, 3, 4, 8])) if quantised else 32,
            }
        )
    edge = 8 if quantised else 32
    return models.arch_from(
        {
            "model": "searchable",
            "image_size_px": 16,
            "stem_width": 4 * int(generator.integers(1, 4)),
            "stages": stages,
            "head_width": 8 * int(generator.integers(0, 3)),
            "edge_weight_bits": edge,
            "edge_activation_bits": edge,
        }
    )


class RandomSkips(nn.Module):
    """An encoder and a decoder: maps of little origin wait for the end, to be added or joined, while larger ones are made."""

    def __init__(self, generator: np.random.Generator) -> None:
        super().__init__()
        self.skips = nn.ModuleList()
        self.joined: list[bool] = []
        for _ in range(int(generator.integers(1, 4))):
            kernel = int(generator.choice([1, 3]))
            steps: list[nn.Module] = [nn.Conv2d(3, 8, kernel, padding=kernel // 2)]
            more = [nn.ReLU(), nn.Hardswish(), nn.AvgPool2d(3, 1, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)]
            steps += [more[int(generator.integers(len(more)))] for _ in range(int(generator.integers(3)))]
            self.skips.append(nn.Sequential(*steps))
            self.joined.append(bool(generator.integers(2)))
        layers: list[nn.Module] = []
        for _ in range(int(generator.integers(1, 4))):
            wide = int(generator.integers(8, 65))
            layers += [nn.Conv2d(8, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, 8, 3, padding=1)]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Conv2d(16 if joined else 8, 8, 1) for joined in self.joined)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = [skip(x) for skip in self.skips]
        x = self.body(kept[0])
        for skip, joined, head in zip(reversed(kept), self.joined, self.heads, strict=True):
            x = head(torch.cat([skip, x], 1) if joined else skip + x)
        return x
