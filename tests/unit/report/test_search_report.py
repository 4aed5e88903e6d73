"""What a search leaves for people: lines, tables, CSV, pictures, TensorBoard events, read back by other means."""

import csv
import io

import matplotlib.image
import msgspec
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from nas.core.errors import Violation
from nas.cost.model import Cost
from nas.report.searches.front_picture import front_figure, save_front
from nas.report.searches.live import LiveView, scatter
from nas.report.searches.search_board import SearchBoard, write_trial
from nas.report.searches.search_table import comparison, describe, front_table, none_fits, summary, write_front_csv
from nas.search.running.best import FrontRow, front
from nas.search.running.plan import Plan
from nas.search.running.supervise import Progress
from nas.search.trials.objective import Limits, Reference, violations
from nas.search.trials.record import Record
from nas.search.trials.space import Space

SPACE = {
    "network": {
        "stem_width": {"choice": [8, 16]},
        "stages": [
            {
                "block": {"choice": ["conv", "mobile_v2"]},
                "width": {"choice": [16, 32]},
                "expansion": {"choice": [2, 4], "when": {"block": "mobile_v2"}, "otherwise": 1},
                "weight_bits": {"choice": [2, 4, 8]},
            }
        ],
    }
}
PARAMS = {
    "network.stem_width": 16,
    "network.stages.0.block": "conv",
    "network.stages.0.width": 32,
    "network.stages.0.expansion": 2,
    "network.stages.0.weight_bits": 4,
}
WIDE = Reference(error=1.0, latency_s=1e-4)
PLAN = Plan(
    space=SPACE,
    sampler={"name": "random"},
    trials=4,
    factory="",
    settings={},
    limits=Limits(),
    reference=WIDE,
)


def make_record(number, error, latency_s, **changes):
    cost = Cost(latency_s, 1000, 2.0, 4096, 5000, 1234, 700, 99000)
    values = {
        "number": number,
        "key": f"{number:016x}",
        "candidate": Space(SPACE).assemble(PARAMS),
        "params": PARAMS,
        "state": "evaluated",
        "cost": cost,
        "error": error,
        "error_low": error - 0.01,
        "error_high": error + 0.01,
        "curve": [(10, error)],
        "seconds": {"trained": 1.5},
    }
    return Record(**(values | changes))


RECORDS = [make_record(0, 0.5, 1e-5), make_record(1, 0.2, 4e-5), make_record(2, 0.4, 5e-5), make_record(3, 0.1, 8e-5)]


def test_a_network_is_described_by_the_choices_that_matter():
    assert describe(PARAMS, Space(SPACE)) == "stem 16 | conv w32 wb4"
    wide = PARAMS | {"network.stages.0.block": "mobile_v2"}
    assert describe(wide, Space(SPACE)) == "stem 16 | mobile_v2 w32 e2 wb4"


def test_every_outcome_has_its_line():
    assert summary(RECORDS[1]).startswith("error 20.00%  latency   40 us")
    failed = make_record(4, 0.5, 1e-5, state="failed", traceback="Traceback\n  x\nValueError: no")
    assert summary(failed) == "failed: ValueError: no"
    violation = Violation("latency_s", "constraints", 2e-3, 1e-3, "s")
    rejected = make_record(5, 0.5, 1e-5, state="rejected", violations=[violation])
    assert "needs 2 ms, has 1 ms" in summary(rejected)


def test_the_table_holds_the_front_in_order_of_latency():
    console = Console(width=120, file=io.StringIO())
    console.print(front_table(RECORDS, Space(SPACE), WIDE))
    lines = [line for line in console.file.getvalue().splitlines() if "us" in line]
    assert [line.split()[0] for line in lines] == ["0", "1", "3"]


def test_the_csv_has_a_row_per_network_and_units_in_its_names(tmp_path):
    rows = [
        FrontRow(rank, item.number, item.key, item.error, 0.0, 1.0, item.cost, {}, {}, "best/x", {"test_error": 0.3})
        for rank, item in enumerate(front(RECORDS, WIDE), 1)
    ]
    write_front_csv(tmp_path / "front.csv", rows)
    read = list(csv.DictReader((tmp_path / "front.csv").open()))
    assert [float(row["latency_s"]) for row in read] == [1e-5, 4e-5, 8e-5]
    assert {row["test_error"] for row in read} == {"0.3"}


def test_the_comparison_says_who_is_ahead_and_on_what_terms():
    ours, chance, text = comparison(PLAN, RECORDS, RECORDS[:3], shared=2)
    assert ours == pytest.approx(0.5 * 0.3 + 0.8 * 0.4 + 0.9 * 0.2)
    assert chance == pytest.approx(0.5 * 0.3 + 0.8 * 0.6)
    assert "ahead of random" in text
    assert "first 2 random ones shared" in text
    assert "4 trainings each (by chance 3)" in text
    assert "not ahead of" in comparison(PLAN, RECORDS[:1], RECORDS, shared=0)[2]


def test_what_is_worse_than_the_reference_is_on_no_front_unless_all_are():
    corner = Reference(error=0.45, latency_s=6e-5)
    assert [record.number for record in front(RECORDS, corner)] == [1]
    assert [record.number for record in front(RECORDS, Reference(error=0.05, latency_s=1.0))] == [0, 1, 3]


def test_where_no_network_lies_within_the_reference_there_is_no_verdict():
    plan = msgspec.structs.replace(PLAN, reference=Reference(error=0.05, latency_s=1e-4))
    ours, chance, text = comparison(plan, RECORDS, RECORDS[:3], shared=2)
    assert ours == chance == 0
    assert "no verdict: no network lies within the reference point" in text
    assert "ahead" not in text


def test_a_limit_that_nothing_keeps_to_comes_with_one_to_try():
    limits = Limits(latency_s=5e-5)
    records = [
        make_record(number, 0.5, latency_s, state="rejected", violations=violations(limits, Cost(latency_s, *[1] * 7)))
        for number, latency_s in enumerate((4.156e-4, 1.587e-3, 1.37e-4))
    ]
    assert none_fits(records, limits) == (
        "latency_s: needs 137 us to 1.59 ms (median 416 us), limit 50 us; try constraints.latency_s=4.2e-4"
    )
    assert none_fits([RECORDS[0]], limits) == ""


def test_networks_that_learnt_nothing_do_not_squeeze_the_picture():
    hopeless = make_record(7, 0.9, 2e-5)
    (axes,) = front_figure([*RECORDS, hopeless], [hopeless], Reference(error=0.6, latency_s=1e-4)).axes
    low, high = axes.get_ylim()
    assert high == pytest.approx(60)
    assert 0 <= low < 10
    assert "1 above 60 % not shown" in [text.get_text() for text in axes.texts]


def test_every_decade_of_latencies_has_several_labels():
    figure = front_figure(RECORDS, [], WIDE)
    figure.canvas.draw()
    low, high = figure.axes[0].get_xlim()
    places = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert len(places) >= 5


def test_the_picture_shows_every_network_and_has_readable_axes(tmp_path):
    figure = front_figure(RECORDS, RECORDS[:2], WIDE, "title")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert "µs" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "search: 1 behind the front",
        "random: 2 on the front, with 95 % intervals",
        "search: 3 on the front, with 95 % intervals",
    ]
    drawn = sum(len(points.get_offsets()) for points in axes.collections if hasattr(points, "get_sizes"))
    assert drawn == 1  # the dominated one; the others are on the line
    save_front(tmp_path / "front.png", RECORDS, [], WIDE)
    assert matplotlib.image.imread(tmp_path / "front.png").shape[:2] == (550, 825)


def test_no_networks_at_all_are_a_picture_too(tmp_path):
    save_front(tmp_path / "front.png", [], [], WIDE)
    assert (tmp_path / "front.png").stat().st_size > 0


def test_the_plot_of_characters_places_the_ends_of_the_front_in_the_corners():
    lines = scatter(RECORDS, WIDE, columns=20, rows=5).plain.splitlines()
    assert lines[0][8] == "●"
    assert lines[4][8 + 19] == "●"
    assert lines[0].startswith(" 50.0%")
    assert lines[4].startswith(" 10.0%")
    assert sum(line.count("·") for line in lines) == 1


def test_tensorboard_gets_both_metrics_and_the_parameters_of_a_trial(tmp_path):
    write_trial(tmp_path / "0001", "search 0001", RECORDS[1], Space(SPACE))
    events = EventAccumulator(str(tmp_path / "0001")).Reload()
    assert events.Scalars("error")[0].value == pytest.approx(0.2)
    assert events.Scalars("latency_us")[0].value == pytest.approx(40)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["stages.0.block"].string_value == "conv"
    assert start.hparams["stem_width"].number_value == 16
    assert "stages.0.expansion" not in start.hparams
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    declared = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert {info.name.tag for info in declared.metric_infos} == {"error", "latency_us"}


def test_the_board_writes_each_trial_once_and_the_front_as_it_grows(tmp_path):
    progress = Progress(PLAN, tmp_path)
    with SearchBoard(tmp_path, "search") as board:
        for count in (2, 4):
            progress.records = RECORDS[:count]
            board.tick(progress, RECORDS[count - 2 : count])
    assert sorted(path.name for path in (tmp_path / "search").iterdir()) == ["0000", "0001", "0002", "0003", "front"]
    events = EventAccumulator(str(tmp_path / "search" / "front")).Reload()
    assert [event.step for event in events.Scalars("front/hypervolume")] == [2, 4]
    assert events.Scalars("front/hypervolume")[0].value < events.Scalars("front/hypervolume")[1].value
    assert len(events.Images("front")) >= 1


def test_random_networks_alone_are_called_so():
    (text,) = front_figure([], RECORDS[:2], WIDE).axes[0].get_legend().get_texts()
    assert text.get_text().startswith("random")


def test_a_candidate_that_another_board_has_written_is_no_second_run(tmp_path):
    progress = Progress(PLAN, tmp_path, records=RECORDS[:2])
    with SearchBoard(tmp_path, "random", elsewhere={RECORDS[0].key}) as board:
        board.tick(progress, RECORDS[:2])
    assert sorted(path.name for path in (tmp_path / "random").iterdir()) == ["0001", "front"]
    events = EventAccumulator(str(tmp_path / "random" / "front")).Reload()
    assert len(events.Scalars("front/hypervolume")) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_the_view_tells_what_is_new_once(tmp_path, terminal):
    console = Console(width=130, file=io.StringIO(), force_terminal=terminal)
    progress = Progress(PLAN, tmp_path, records=RECORDS[:2], notes=["worker-1 died"], elapsed_s=5)
    with LiveView(console, "search") as view:
        view.tick(progress, RECORDS[:2])
        progress.records = RECORDS
        view.tick(progress, RECORDS[2:])
    text = console.file.getvalue()
    assert text.count("! worker-1 died") == 1
    assert text.count("latency   40 us") == 1
    assert "4 of 4 trained" in text
    assert ("(2 of 4 trained" in text) == (not terminal)
