"""What a training step of a drawn sub-network costs beside one of the whole network: rows (what, value, unit).

Interleaved steps of `svhn_net` in bfloat16 with fused AdamW, batch 128, as the trainer takes them, in seconds of the processor;
taking out and putting back are within. Draws take blocks of 8 channels. "held": each draw lasts for 4 steps, so that what was
taken, and the kernels of its shapes, are used again; figures are means over such a draw.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import models
from nas.quota.channels.find import find_groups
from nas.quota.channels.subnet import Subnet
from nas.quota.urn.draw import prepare, random_channels
from nas.quota.urn.urn import full_urn
from nas.train.machine.kept_memory import kept_memory
from nas.train.machine.slow_kernels import without_slow_kernels

NAME = "subnet"
_STEPS = 45
_COLD = 15  # steps, whose shapes are mostly new; a training of some hundred meets them again
_BATCH = 128
_ALIGN = 8
_HOLD = 4  # steps


def run() -> list[tuple[str, float, str]]:
    """Time a step at every share of the channels, in turn, and draws by themselves."""
    with kept_memory():
        return _rows()


def _rows() -> list[tuple[str, float, str]]:
    network = models.build({"model": "svhn_net"}, 0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    groups = find_groups(network, (1, 3, 32, 32))
    subnet = Subnet(network, groups, optimizer)
    images = torch.randn(_BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (_BATCH,))
    names, sizes = [group.name for group in groups.cut], [group.size for group in groups.cut]
    generator = np.random.default_rng(0)

    def train(share: float, hold: int = 1) -> Callable[[], None]:
        bundles = [size // _ALIGN for size in sizes]
        draws = prepare(full_urn(names, bundles, round(sum(bundles) * share)))

        def step() -> None:
            counts = draws.counts(generator, 1)[0] * _ALIGN
            channels = random_channels(counts, [np.arange(size) for size in sizes], generator)
            keep = dict(zip(names, channels, strict=True))
            for _ in range(hold):
                small, own = subnet.take(keep)
                _step(small, own, images, labels)
            subnet.give_back()

        return step

    works = {"whole": lambda: _step(network, optimizer, images, labels)}
    works |= {f"{share:.0%} of the channels": train(share) for share in (1.0, 0.5, 0.25)}
    works |= {f"{share:.0%} of the channels, held": train(share, _HOLD) for share in (0.5, 0.25)}
    times: dict[str, list[float]] = {what: [] for what in works}
    for _ in range(_STEPS):
        for what, work in works.items():
            began_s = time.process_time()
            work()
            times[what].append((time.process_time() - began_s) / (_HOLD if what.endswith("held") else 1))
    whole_s = statistics.median(times.pop("whole")[_COLD:])
    rows = [("step of the whole network", whole_s * 1e3, "ms")]
    rows += [(what, statistics.median(taken[_COLD:]) / whole_s, "of the step") for what, taken in times.items()]
    draws = prepare(full_urn(names, sizes, sum(sizes) // 2))
    began_s = time.process_time()
    draws.counts(generator, 2000)
    return [*rows, ("one draw of 2000", (time.process_time() - began_s) / 2000 * 1e6, "us")]


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor) -> None:
    with without_slow_kernels(network):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()
    optimizer.step()
    optimizer.zero_grad()


if __name__ == "__main__":
    for what, value, unit in run():
        print(f"{what:30} {value:10.4g} {unit}")
