"""A network is cut under a quota in a folder that goes on with the same settings alone; what cannot be is refused before a training."""

import dataclasses
import math
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nas.core.errors import InputError, Violation
from nas.cost.model import Cost
from nas.data.load import Data
from nas.data.source import DataConfig
from nas.quota.training.config import QuotaConfig
from nas.search.pruning.pruning import PruneConfig, prune
from nas.train.config import TrainConfig
from nas.train.observer import Observers
from tests.pictures import bright_or_dark, two_convolutions

TRAINER = TrainConfig(epochs=0.5, batch_size=16, precision="float32", device="cpu")


class Counted:
    """A network costs its parameters, and fits where they are no more than `most`."""

    name = "counted"

    def __init__(self, most: float = math.inf) -> None:
        self.most = most

    def cost(self, network: nn.Module, input_shape: tuple[int, ...]) -> Cost | Violation:
        del input_shape
        count = sum(weight.numel() for weight in network.parameters())
        if count > self.most:
            return Violation("dram_bytes", "weights", count, self.most, "bytes")
        return Cost(count / 1e9, count, 0.0, 0, 0, count, count, 0)


@pytest.fixture
def data() -> Data:
    return bright_or_dark()


def plan(quota: QuotaConfig | None = None, start: str | None = None) -> PruneConfig:
    return PruneConfig(quota or QuotaConfig(adjust="nobody"), TRAINER, TRAINER, TRAINER, start=start)


@pytest.mark.parametrize(
    ("quota", "most", "message"),
    [
        (QuotaConfig(share=0.01), math.inf, r"share: expected 0\.25 or more, .* minima .* got 0\.01 .*minimum than 2"),
        (QuotaConfig(minimum=100), math.inf, r"share: expected 1 or more, .* got 0\.5 "),
        (QuotaConfig(align=16), math.inf, r"share: expected 1 or more, .* align than 16"),
        (
            QuotaConfig(price="cycles"),
            100,
            "price: expected a whole network that fits the processor, got one that does",
        ),
        (QuotaConfig(start={"0": 4, "features.3": 4}), math.inf, r"start\.features\.3: expected .* \(groups: 0, 3\)"),
        (QuotaConfig(start={"0": 9}, price="time"), math.inf, r"start\.0: expected 1 to 8 balls"),
    ],
)
def test_a_quota_that_cannot_be_met_is_refused_before_anything_is_trained(
    tmp_path: Path, data: Data, quota: QuotaConfig, most: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prune(two_convolutions(), data, plan(quota), Counted(most), tmp_path, Observers())
    assert not list(tmp_path.iterdir())


def test_a_folder_goes_on_with_the_same_settings_alone(tmp_path: Path, data: Data) -> None:
    data = dataclasses.replace(data, identity=DataConfig(source="bright").identity())
    quota, hardware = QuotaConfig(adjust="nobody", price="cycles"), {"name": "edge_npu", "sram": {"size_bytes": 4096}}
    out, given = tmp_path / "out", (Counted(), tmp_path / "out", Observers())
    _, first = prune(two_convolutions(), data, plan(quota), *given, hardware)
    _, again = prune(two_convolutions(), data, plan(quota), *given, hardware)
    assert (again.channels, again.slim.error) == (first.channels, first.slim.error)
    written = (out / "result.json").read_bytes()
    whole = str(out / "whole")
    other_data = dataclasses.replace(data, identity=DataConfig(source="bright", seed=1).identity())
    longer = msgspec.structs.replace(plan(quota), fine_trainer=dataclasses.replace(TRAINER, epochs=1.0))
    for pictures, config, processor, message in (
        (other_data, plan(quota), hardware, r"data\.seed: expected 0, got 1"),
        (data, plan(quota), {**hardware, "name": "micro_npu"}, r"hardware\.name: expected 'edge_npu', got 'micro_npu'"),
        (data, plan(quota), {"name": "edge_npu", "sram": {"size_bytes": 1}}, r"hardware\.sram\.size_bytes: .* got 1 "),
        (data, plan(quota, start=whole), hardware, "start: expected None, got 'weights"),
        (data, longer, hardware, r"fine_trainer\.epochs: expected 0\.5, got 1\.0"),
    ):
        with pytest.raises(InputError, match=message):
            prune(two_convolutions(), pictures, config, *given, processor)
    assert (out / "result.json").read_bytes() == written
    started = plan(QuotaConfig(adjust="nobody"), start=whole)
    prune(two_convolutions(), data, started, Counted(), tmp_path / "started", Observers(), hardware)
    prune(
        two_convolutions(), data, started, Counted(), tmp_path / "started", Observers(), {}
    )  # it is a quota of channels


def test_weights_of_another_network_leave_the_folder_as_it_was(tmp_path: Path, data: Data) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    save_file({"weight": torch.zeros(3)}, other / "model.safetensors")
    with pytest.raises(InputError, match="expected the weights of exactly this network"):
        prune(two_convolutions(), data, plan(start=str(other)), Counted(), out, Observers())
    assert not out.exists()


class Told(Observers):
    """Remembers the names and steps of all scalars."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, list[int]] = {}

    def scalar(self, name: str, value: float, step: int) -> None:
        del value
        self.steps.setdefault(name, []).append(step)


def test_each_training_has_curves_of_its_own(tmp_path: Path, data: Data) -> None:
    told = Told()
    prune(two_convolutions(), data, plan(), Counted(), tmp_path, told)
    assert {name for name in told.steps if name.endswith("/error")} == {
        "whole/validation/error", "whole/test/error", "quota/validation/error", "slim/validation/error", "slim/test/error"
    }  # fmt: skip
    assert all(steps == sorted(set(steps)) for steps in told.steps.values())
