"""Parts of a search that cost nothing: a network is one layer, its error falls and its latency grows with the width."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.core.errors import InputError, Violation
from nas.cost.model import Cost
from nas.search.running.evaluate import FitResult, Parts, ShouldStop

SPACE: dict[str, Any] = {
    "network": {
        "model": "fake",
        "stages": [
            {
                "block": {"choice": ["conv", "mobile_v2"]},
                "width": {"choice": [4, 8, 16, 32, 64]},
                "expansion": {"choice": [2, 4, 6], "when": {"block": "mobile_v2"}, "otherwise": 1},
            },
            {"width": {"int": [8, 64], "step": 8}, "bits": {"choice": [2, 4, 8]}},
        ],
    }
}


class FakeCostModel:
    name = "fake"

    def cost(self, network: nn.Module, input_shape: tuple[int, ...]) -> Cost | Violation:
        width = network.weight.shape[0]
        if width == 13:
            return Violation("sram_bytes", "layer", 2.0, 1.0, "bytes")
        return Cost(width * 1e-5, width * 8000, 1.0, width * 100, width, 3 * width, 3 * width, width)


def build(network: Mapping[str, Any]) -> nn.Module:
    first, second = network["stages"]
    if first["width"] * first["expansion"] == 64 * 6:
        raise ValueError("too wide to exist")
    layer = nn.Linear(2, first["width"] * first["expansion"] + second["width"])
    layer.bits = second["bits"]
    return layer


def make(settings: Mapping[str, Any]) -> Parts:
    """settings: `seconds` of a training, `fail_widths` at which it raises, `killed_once`: a file that says whether a worker
    has already died in its training, `meet`: a folder in which two workers wait for each other, `refuse`: not to work.
    """
    if settings.get("refuse"):
        raise InputError("settings", "refuse", "settings that work", "these")

    def fit(network: nn.Module, folder: Path | None, should_stop: ShouldStop | None) -> FitResult:
        width = network.weight.shape[0]
        time.sleep(settings.get("seconds", 0.0))
        marker = Path(settings["killed_once"]) if "killed_once" in settings else None
        if marker is not None and not marker.exists():
            marker.touch()
            os._exit(9)
        if "meet" in settings:  # nobody goes on before two workers are at work
            meeting = Path(settings["meet"])
            meeting.mkdir(exist_ok=True)
            (meeting / str(os.getpid())).touch()
            deadline = time.monotonic() + 60
            while len(list(meeting.iterdir())) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
        if width in settings.get("fail_widths", ()):
            raise FloatingPointError(f"loss is nan at width {width}")
        error = 0.05 + 2 / (width + 4) + 0.1 / network.bits
        with torch.no_grad():
            network.weight.fill_(error)
        return FitResult(error, error - 0.01, error + 0.01, [(1, 2 * error), (2, error)], steps=2, images_per_s=1e3)

    def export(network: nn.Module, record: Any, folder: Path) -> dict[str, Any]:
        (folder / "compiled.txt").write_text("compiled")
        return {"test_error": network.weight.mean().item()}

    return Parts((1, 3, 8, 8), build, lambda hardware: FakeCostModel(), fit, export)
