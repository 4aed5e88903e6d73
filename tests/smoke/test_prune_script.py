"""`python scripts/prune.py` as a user runs it: the three experiments, a resumed run, and that what it leaves can be used."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import models
from nas.core.artifact import read_json
from nas.quota.channels.slim import SLIM_KIND, SLIM_VERSION, SlimNetwork, shrunk
from tests.commands import Ended, in_a_process, inside

SMALL = [
    "data.train_images=200", "data.validation_images=64", "data.test_images=64", "trainer.batch_size=32",
    "trainer.epochs=0.3", "quota_trainer.epochs=2", "fine_trainer.epochs=0.3", "quota.adjust_every=3", "folder=out",
]  # fmt: skip
PLAIN = ["model.widths=[8,8,8,16]", "model.fc_width=16"]


def _prune(folder: Path, *arguments: str) -> Ended:
    return inside("prune", *SMALL, *arguments, here=folder)


def test_half_of_the_channels_and_a_network_that_anybody_can_build(tmp_path: Path) -> None:
    run = in_a_process("prune", *SMALL, "experiment=svhn_quota_50", *PLAIN, here=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "latency on edge_npu" in run.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())["value"]
    assert sum(result["slim"]["widths"]) == 28 == sum(result["whole"]["widths"]) // 2
    assert result["slim"]["latency_s"] < result["whole"]["latency_s"]
    assert (tmp_path / "out" / "quota.png").stat().st_size > 5000
    assert list((tmp_path / "out" / "tensorboard" / "quota").glob("events.*"))
    weights = load_file(tmp_path / "out" / "slim" / "model.safetensors")
    network = models.build(models.arch_from_json((tmp_path / "out" / "slim" / "arch.json").read_text()))
    network.load_state_dict(weights, strict=True)
    described = read_json(tmp_path / "out" / "slim" / "slim.json", SlimNetwork, SLIM_KIND, SLIM_VERSION)
    again = shrunk(models.build(described.arch), (1, 3, 32, 32), described.channels)
    again.load_state_dict(weights, strict=True)
    images = torch.rand(2, 3, 32, 32)
    whole = models.build(models.arch_from_json((tmp_path / "out" / "whole" / "arch.json").read_text()))
    whole.load_state_dict(
        load_file(tmp_path / "out" / "whole" / "model.safetensors"), strict=True
    )  # it can be a teacher
    assert torch.equal(network.eval()(images), again.eval()(images))
    given = ["arch_file=out/slim/slim.json", "weights_file=out/slim/model.safetensors", "folder=compiled"]
    compiled = inside("compile", *given, here=tmp_path)
    assert compiled.returncode == 0, compiled.stderr


@pytest.mark.slow
def test_a_speed_quota_meets_the_cycles_and_the_same_folder_goes_on(tmp_path: Path) -> None:
    small = ["experiment=svhn_quota_speed", *PLAIN, "quota.align=4", "quota.minimum=4", "quota.share=0.8"]
    first = _prune(tmp_path, *small)
    assert first.returncode == 0, first.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())["value"]
    assert result["slim"]["latency_s"] <= 0.8 * result["whole"]["latency_s"] * 1.001
    again = _prune(tmp_path, *small)
    assert again.returncode == 0, again.stderr
    after = json.loads((tmp_path / "out" / "result.json").read_text())["value"]
    assert after["channels"] == result["channels"]
    assert after["slim"]["error"] == result["slim"]["error"]
    for changed in ("hardware=micro_npu", "data.seed=1"):
        other = _prune(tmp_path, *small, changed)
        assert other.returncode == 2
        assert "choose another folder" in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize("model", ["shufflenet_v2", "mobilenet_v2", "dorefa_svhn"])
def test_networks_of_the_literature_are_cut_to_half_of_their_channels(tmp_path: Path, model: str) -> None:
    run = _prune(
        tmp_path, f"model={model}", "quota.align=4", "quota.minimum=4", "quota_trainer.epochs=1", "quota.pairs=4"
    )
    assert run.returncode == 0, run.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())["value"]
    assert 0.45 < result["slim"]["share"] <= 0.501
    assert result["slim"]["parameters"] < result["whole"]["parameters"]
