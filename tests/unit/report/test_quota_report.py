import io

import msgspec
import numpy as np
from rich.console import Console

from nas.quota.training.quota_training import Look
from nas.report.quotas.quota_picture import quota_figure, show_quota
from nas.report.quotas.quota_table import print_quota_table, widths_text
from nas.search.pruning.pruning import PruneResult, Row
from nas.train.recipe.metrics import ErrorRate


def result():
    names = [f"layer{index}" for index in range(5)]
    history = tuple(
        Look(step, dict.fromkeys(names, 9.5), dict.fromkeys(names, 12), dict.fromkeys(names, 9))
        for step in (20, 40, 60)
    )
    whole = Row("whole", (20,) * 5, 10.0, ErrorRate(27, 1000), 1.0, 4e-4, 5000)
    slim = Row("slim", (10,) * 5, 31.0, ErrorRate(31, 1000), 0.5, 1e-4, 1300)
    return PruneResult(whole, slim, dict.fromkeys(names, 10), {"last": "output of the network"}, history)


def test_the_table_tells_what_the_publication_does():
    text = io.StringIO()
    print_quota_table(result(), "edge_npu", Console(file=text, width=60))
    lines = text.getvalue().splitlines()
    assert len(lines) == 3
    for part in ("10 10 10 10 10", "31.0 (3.10x)", "3.10% (2.19% to 4.37%)", "50%", "1,300", "100 us (4.00x)"):
        assert part in lines[2]
    assert widths_text(range(1, 13)) == "1 2 3 4 ... 9 10 11 12 (12 groups)"


def test_the_picture_has_a_place_for_every_group_with_its_widths_balls_and_draws(tmp_path):
    axes = quota_figure(result()).axes
    assert len(axes) == 5
    width, drawn = axes[0].lines
    assert np.allclose(width.get_ydata(), 9.5 / 20)
    assert np.allclose(drawn.get_ydata(), 9 / 20)
    assert width.get_xdata().tolist() == [20, 40, 60]
    show_quota(tmp_path, result())
    assert (tmp_path / "quota.png").exists()


def test_where_widths_come_from_curves_the_picture_shows_why():
    whole = result()
    falling = {name: tuple(np.linspace(1.0 / (1 + index), 0, 21)) for index, name in enumerate(whole.channels)}
    axes = quota_figure(msgspec.structs.replace(whole, history=(Look(0, {}, {}, {}, falling),))).axes
    assert len(axes) == 5
    for index, place in enumerate(axes):
        curve, width = place.lines
        assert curve.get_xdata().tolist() == list(range(21))
        assert np.allclose(curve.get_ydata(), falling[f"layer{index}"]), "nothing is drawn where nothing is lost, but 0"
        assert (width.get_xdata()[0], width.get_ydata()[0]) == (10, falling[f"layer{index}"][10])
        assert place.get_ylim() == axes[0].get_ylim()
        assert all(tick == int(tick) for tick in place.get_xticks()), "no half channels"
    assert "%" in axes[0].get_ylabel()
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()][1] == "the width chosen"
