"""Methods of the comparison on a tiny problem: each meets the price, and nothing is run twice."""

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import models
from nas.core.config import load_yaml
from nas.core.errors import InputError, Violation
from nas.cost.simulated import SimulatedCost
from nas.data.load import Data
from nas.data.source import Split
from nas.hw.load import processor_from
from nas.quota.training.config import QuotaConfig
from nas.quota.worth.price import PRICES
from nas.report.pages.comparison_table import comparison_table
from nas.search.pruning.prune_compare import Contest, Point, compare, means
from nas.search.pruning.prune_methods import METHODS
from nas.train.config import TrainConfig

TRAINER = TrainConfig(epochs=2, batch_size=16, evaluate_every_epochs=0, checkpoint_every_s=0, precision="float32")
OWN = [name for name in METHODS if not name.startswith("tp_")]


def data():
    generator = torch.Generator().manual_seed(0)

    def split(count):
        images = torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
        return Split(images, torch.randint(0, 4, (count,), generator=generator))

    return Data(split(96), split(32), split(64), 4, 3, 16, "noise")


def build(seed):
    return models.build(
        {"model": "svhn_net", "widths": [8, 8, 8, 16], "fc_width": 16, "classes": 4, "image_size_px": 16}, seed
    )


def cost():
    path = Path(__file__).parents[3] / "conf" / "hardware" / "edge_npu.yaml"
    return SimulatedCost(processor_from(load_yaml(path), str(path)))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contest")
    points = (Point("half", "one", 0.5, 4), Point("few", "parameters", 0.3, 2))
    contest = Contest(
        points,
        ("quota", *[name for name in OWN if name != "quota"]),
        (0,),
        QuotaConfig(adjust_every=2, adjust="curves", hand_over=True, end=0.0),
        TRAINER,
        TRAINER,
    )
    told = []
    first = compare(contest, build, data(), cost(), folder, told.append)
    began = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = compare(contest, build, data(), cost(), folder, lambda record: None)
    assert first == again
    assert began == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert [each for each in told if isinstance(each, str)][:2] == ["0 the whole network", "0 half quota"]
    return [each for each in told if not isinstance(each, str)]


def test_what_is_not_known_is_told_before_anything_is_trained():
    half = Point("half", "one", 0.5)
    with pytest.raises(InputError, match=r"methods: .*quotta.*quota"):
        Contest((half,), ("quotta",), (0,), QuotaConfig(), TRAINER, TRAINER)
    with pytest.raises(InputError, match=r"points: .*cycels.*cycles"):
        Contest((Point("half", "cycels", 0.5),), ("quota",), (0,), QuotaConfig(), TRAINER, TRAINER)
    contest = Contest((half,), ("quota",), (0,), QuotaConfig(), TRAINER, TRAINER)
    assert contest.at(["half"]) == contest
    with pytest.raises(InputError, match=r"at: .*hlf.*half"):
        contest.at(["hlf"])
    for field in ("price", "importance"):
        with pytest.raises(InputError, match=f"{field}: .*foo"):
            QuotaConfig(**{field: "foo"})


def test_every_method_meets_the_price_in_aligned_widths(records):
    assert len(records) == 2 * len(OWN)
    for record in records:
        share, align = (0.5, 4) if record.point == "half" else (0.3, 2)
        assert record.price_share <= share + 1e-9, record
        assert all(width % align == 0 for width in record.widths), record
        if record.method not in ("published", "random"):
            assert record.price_share > 0.6 * share, record


def test_the_table_has_a_line_for_each_and_means_are_those_of_the_seeds(records):
    assert comparison_table(records).row_count == 2 * len(OWN)
    twice = [*records, *(msgspec.structs.replace(record, seed=1) for record in records)]
    for (mean, error, seeds), record in zip(means(twice).values(), records, strict=True):
        assert seeds == 2
        assert mean == pytest.approx(record.error.rate)
        assert error == pytest.approx(np.sqrt(mean * (1 - mean) / 64 / 2))


def test_a_method_that_has_no_network_of_the_price_leaves_no_record_and_stops_nobody(tmp_path, monkeypatch):
    none = Violation("share of the price", "nobody", 0.7, 0.5, "of the whole")
    monkeypatch.setitem(METHODS._members, "nobody", lambda case: none)
    short = dataclasses.replace(TRAINER, epochs=0.2)
    contest = Contest((Point("half", "one", 0.5, 4),), ("nobody", "even"), (0,), QuotaConfig(), short, short)
    told = []
    found = compare(contest, build, data(), cost(), tmp_path, told.append)
    assert next(each for each in told if not isinstance(each, str)) is none
    assert [record.method for record in found] == ["whole", "even"]


def test_equal_time_needs_to_know_how_long_the_quota_took(tmp_path):
    contest = Contest(
        (Point("half", "one", 0.5, 4),),
        ("scratch_equal_time",),
        (0,),
        QuotaConfig(),
        dataclasses.replace(TRAINER, epochs=0.2),
        TRAINER,
    )
    with pytest.raises(InputError, match="the method quota before it"):
        compare(contest, build, data(), cost(), tmp_path, lambda record: None)


def test_a_folder_keeps_what_its_points_and_its_hardware_are(tmp_path):
    short = dataclasses.replace(TRAINER, epochs=0.2)
    half = Point("half", "one", 0.5, 4)
    contest = Contest((half,), ("even",), (0,), QuotaConfig(), short, short)
    given = build, data(), cost(), tmp_path, lambda record: None
    compare(contest, *given, {"name": "edge_npu"})
    less = msgspec.structs.replace(contest, points=(msgspec.structs.replace(half, share=0.4),))
    with pytest.raises(InputError, match=r"half: share: expected 0\.5, got 0\.4"):
        compare(less, *given, {"name": "edge_npu"})
    with pytest.raises(InputError, match=r"hardware\.name: expected 'edge_npu', got 'micro_npu'"):
        compare(contest, *given, {"name": "micro_npu"})
    more = msgspec.structs.replace(contest, points=(half, Point("third", "one", 0.4, 4)))
    assert len(compare(more, *given, {"name": "edge_npu"})) == 3


def test_what_was_measured_once_is_the_price_for_all_methods(tmp_path, monkeypatch):
    asked = []

    def as_measured(subject):
        def cost_of(counts):
            asked.append(tuple(counts.values()))
            return sum(counts.values()) * (1 + 0.01 * len(asked))  # never the same twice

        return cost_of

    monkeypatch.setitem(PRICES._members, "time", as_measured)
    contest = Contest(
        (Point("quick", "time", 0.5, 4),), ("even", "scratch"), (0,), QuotaConfig(), TRAINER,
        dataclasses.replace(TRAINER, epochs=0.2),
    )  # fmt: skip
    first = compare(contest, build, data(), cost(), tmp_path, lambda record: None)
    assert len(asked) == len(set(asked))
    (tmp_path / "0" / "quick-scratch.json").unlink()
    again = compare(contest, build, data(), cost(), tmp_path, lambda record: None)
    assert len(asked) == len(set(asked))
    assert [record.price_share for record in again] == [record.price_share for record in first]


def test_the_whole_network_took_the_time_of_all_sessions(tmp_path):
    contest = Contest((), (), (0,), QuotaConfig(), TRAINER, TRAINER)
    (first,) = compare(contest, build, data(), cost(), tmp_path, lambda record: None)
    (tmp_path / "0" / "whole.json").unlink()  # as one that was killed behind its last checkpoint
    (again,) = compare(contest, build, data(), cost(), tmp_path, lambda record: None)
    assert again.cpu_s > 0.5 * first.cpu_s > 0  # all but the writing of that checkpoint
