"""Every choice of conf/space offers networks that can be built."""

from pathlib import Path

import numpy as np
import pytest
import torch

import models
from models.stage import Stage
from nas.core.config import load_yaml
from nas.search.trials.space import Space

SPACES = sorted((Path(__file__).parents[2] / "conf" / "space").glob("*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_random_candidates_are_networks(path: Path) -> None:
    space, generator = Space(load_yaml(path), path), np.random.default_rng(0)
    for _ in range(25):
        candidate = space.assemble(space.random(generator))
        with torch.device("meta"):
            models.build({"classes": 10, "image_size_px": 32, **candidate.network})


def test_every_block_offers_every_block() -> None:
    (path,) = [path for path in SPACES if path.stem == "every_block"]
    space, generator = Space(load_yaml(path), path), np.random.default_rng(1)
    stages = [stage for _ in range(150) for stage in space.assemble(space.random(generator)).network["stages"]]
    assert {stage["block"] for stage in stages} == set(Stage.__annotations__["block"].__args__)
    for name in ("skip", "factorised", "squeeze_excite", "hard_swish"):
        assert {True, False} <= {stage[name] for stage in stages}, name
