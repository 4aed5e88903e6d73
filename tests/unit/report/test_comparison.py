"""The comparison's page: what it says of hand-made records, and that the committed page is made of its record."""

import re
import warnings
from pathlib import Path

import msgspec
import pytest

from nas.core.machine import Machine
from nas.report.pages.comparison import Budget, Comparison, read_comparison, write_comparison
from nas.report.pages.comparison_page import comparison_page
from nas.report.pages.comparison_picture import comparison_figure
from nas.search.pruning.prune_compare import Point, PruneRecord
from nas.train.recipe.metrics import ErrorRate

DOCS = Path(__file__).parents[3] / "docs"
ERRORS = {"quota": (50, 52, 51), "even": (60, 63, 61), "tp_taylor": (49, 53, 52), "scratch": (190, 200, 210)}


def record(method, seed, errors, point="fast"):
    return PruneRecord(
        point=point, method=method, seed=seed, widths=(8, 16), error=ErrorRate(errors, 1000), price_share=0.1,
        cpu_s=30.0, latency_s=1e-4, parameters=10,
    )  # fmt: skip


def comparison(seeds=3):
    records = [record(method, seed, errors[seed]) for method, errors in ERRORS.items() for seed in range(seeds)]
    whole = [record("whole", seed, 45, "") for seed in range(seeds)]
    return Comparison(
        Machine("a processor", 2, "3.11", {"torch": "1"}),
        Budget("digits", 100, 1000, 4, 2, 128, 0.004),
        (Point("fast", "time", 0.1),),
        (*whole, *records),
    )


def line(page, method):
    return next(row for row in page.splitlines() if row.startswith((f"| {method} ", f"| **{method}** ")))


def test_differences_are_of_the_same_seeds_and_bold_where_their_interval_leaves_out_zero():
    page = comparison_page(comparison(), "picture.png")
    # 10, 11, 10 errors more in 1000: by hand 1.033 points, sd 0.0577, t of two degrees 4.303, half 0.143.
    assert "| **+1.03 ± 0.14** |" in line(page, "even")
    assert "| +0.03 ± 0.29 |" in line(page, "tp_taylor")  # -1, +1, +1
    assert "5.10 ± 0.25 | 5.00, 5.20, 5.10 |  |" in line(page, "quota")
    assert "- The quota is better, beyond the interval, than even, scratch." in page
    assert "- Within the interval: tp_taylor." in page
    assert "It is **worse**" not in page
    asked = "data=digits data.train_images=100 data.test_images=1000 trainer.epochs=4 page=docs/picture.md "
    asked += "at=[fast] methods=[quota,even,scratch,tp_taylor] seeds=[0,1,2]`"
    assert f"`python scripts/compare_pruning.py {asked}, which runs what is missing" in page
    assert "## fast: at most 10 % of the whole network's training-step time" in page


def test_the_command_has_what_else_the_records_were_made_by():
    words = ("model.widths=[8,8]", "points=[{name: fast}]", "seeds=[7]", "folder=a", "+data.root=b", "trainer.epochs=9")
    page = comparison_page(msgspec.structs.replace(comparison(), words=words), "picture.png")
    assert "trainer.epochs=4 'model.widths=[8,8]' 'points=[{name: fast}]' page=docs/picture.md at=[fast]" in page


def test_images_that_are_not_those_of_the_test_are_told():
    made = comparison()
    rest = msgspec.structs.replace(made, budget=msgspec.structs.replace(made.budget, test_split="rest"))
    page = comparison_page(rest, "picture.png")
    assert "data.train_images=100 data.test_split=rest data.test_images=1000" in page
    assert "1,000 images that nothing was trained on, in the place of the test images." in page


def test_one_seed_tells_nothing_for_certain():
    page = comparison_page(comparison(seeds=1), "picture.png")
    assert "| +1.00 |" in line(page, "even")
    assert "better, beyond the interval" not in page
    assert "Within the interval" not in page
    assert "- One seed, so no interval: tp_taylor, even, scratch." in page


def test_a_method_that_is_like_another_names_it_since_errors_order_the_lines():
    same = ("quota_no_draws", "quota_handed", "even_equal_time", "scratch_equal_time")
    records = (record("whole", 0, 45, ""), *(record(method, 0, 50) for method in same))
    page = comparison_page(msgspec.structs.replace(comparison(), records=records), "picture.png")
    for method, other in zip(same, ("quota", "quota", "even", "scratch"), strict=True):
        assert re.search(rf"\| as {other}[,;]", line(page, method))


def test_methods_that_ran_with_some_seeds_have_a_command_of_their_own():
    made = comparison()
    kept = tuple(each for each in made.records if each.method != "scratch" or not each.seed)
    page = comparison_page(msgspec.structs.replace(made, records=kept), "picture.png")
    assert "methods=[quota,even,tp_taylor] seeds=[0,1,2]` and then with `methods=[scratch] seeds=[0]`, which" in page


def test_a_worse_quota_is_said_to_be_worse():
    good = comparison()
    worse = tuple(
        record("quota", each.seed, each.error.errors + 30) if each.method == "quota" else each for each in good.records
    )
    page = comparison_page(Comparison(good.machine, good.budget, good.points, worse), "picture.png")
    assert "It is **worse**, beyond the interval, than tp_taylor, even." in page


def test_the_record_comes_back_and_the_picture_has_a_row_for_each_method(tmp_path):
    write_comparison(tmp_path / "comparison.json", comparison())
    assert read_comparison(tmp_path / "comparison.json") == comparison()
    axes = comparison_figure(comparison()).axes
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["quota", "even", "tp_taylor", "scratch"]
    widths = [panel.get_xlim()[1] - panel.get_xlim()[0] for panel in axes]
    assert max(widths) - min(widths) < 1e-9


@pytest.mark.parametrize("record", sorted(DOCS.glob("comparison*.json")), ids=lambda path: path.stem)
def test_the_committed_pages_are_made_of_their_records(record):
    made = comparison_page(read_comparison(record), record.with_suffix(".png").name)
    assert record.with_suffix(".md").read_text() == made


def test_equal_errors_make_a_picture_too():
    same = tuple(msgspec.structs.replace(each, error=ErrorRate(50, 1000)) for each in comparison().records)
    with warnings.catch_warnings(action="error"):
        low, high = comparison_figure(msgspec.structs.replace(comparison(), records=same)).axes[0].get_xlim()
    assert low <= 5 <= high
