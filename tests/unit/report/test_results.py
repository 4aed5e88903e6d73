"""The results page: its statistics by hand, its commands by running one, and the committed page against its record."""

import math
import re
from pathlib import Path

import msgspec
import pytest

from nas.core.errors import InputError
from nas.core.machine import this_machine
from nas.report.pages.results import Results, Run, mean_error, merged, read_results, write_results
from nas.report.pages.results_page import results_page
from nas.report.pages.results_picture import results_figure
from nas.report.pages.results_plan import ResultsPlan

DOCS = Path(__file__).parents[3] / "docs"


def _run(network: str, seed: int, errors: int, data: str = "digits") -> Run:
    return Run(data, network, seed, errors, images=1000, parameters=12_345, steps=10, processor_s=30.0)


def _results(*runs: Run, orders: tuple[tuple[str, ...], ...] = ()) -> Results:
    networks = {run.network: (f"model={run.network}",) for run in runs}
    data = {run.data: (f"data={run.data}",) for run in runs}
    return Results(this_machine(), 2, 1, networks, data, ("trainer.epochs=2",), ("data=svhn",), orders, runs)


def _plan(**changed: object) -> ResultsPlan:
    values: dict[str, object] = {
        "networks": {"a": ("model=a",), "b": ("model=b",)},
        "data": {"digits": ("data=digits",)},
        "budget": ("trainer.epochs=1",),
        "full_budget": (),
        "seeds": (0, 1),
        "only": None,
        "orders": (("a", "b"),),
        "workers": 1,
        "threads": 1,
        "folder": "runs",
        "page": "page.md",
    }
    return ResultsPlan(**{**values, **changed})  # type: ignore[arg-type]


def test_the_interval_is_students() -> None:
    # Errors of 4, 6 and 8 %: mean 6, standard deviation 2, and 4.303 is the table's t for two degrees of freedom.
    mean = mean_error([_run("a", 0, 40), _run("a", 1, 60), _run("a", 2, 80)])
    assert mean.value == pytest.approx(0.06)
    assert mean.half == pytest.approx(4.3027 * 0.02 / math.sqrt(3), rel=1e-4)


def test_one_seed_has_no_interval() -> None:
    assert math.isnan(mean_error([_run("a", 0, 40)]).half)
    assert "± nan" not in results_page(_results(_run("a", 0, 40)), "p.png")


def test_the_page_says_where_the_order_holds_and_where_not() -> None:
    wide = [_run("wide", seed, 100 + seed) for seed in range(3)]
    narrow = [_run("narrow", seed, 200 + seed) for seed in range(3)]
    assert "so it is" in results_page(_results(*wide, *narrow, orders=(("wide", "narrow"),)), "p.png")
    page = results_page(_results(*wide, *narrow, orders=(("narrow", "wide"),)), "p.png")
    assert "so it is" not in page
    assert re.search(r"\*\*not\*\* between narrow \(20\.10 ± 0\.25 %\) and wide \(10\.10 .*do not overlap", page)


def test_the_commands_are_ones_for_a_shell() -> None:
    results = _results(_run("a", 0, 40))
    made = msgspec.structs.replace(results, networks={"a": ("model=a", "model.quantization={weight_bits: 1}")})
    page = results_page(made, "p.png")
    assert (
        page.count("python scripts/train.py")
        == page.count("model=a 'model.quantization={weight_bits: 1}' trainer")
        == 2
    )


def test_the_record_comes_back(tmp_path: Path) -> None:
    results = _results(_run("a", 0, 40), _run("a", 1, 50))
    write_results(tmp_path / "r.json", results)
    assert read_results(tmp_path / "r.json") == results


def test_every_run_has_a_folder_of_its_own_and_the_first_seeds_come_first() -> None:
    trainings = list(_plan().trainings())
    assert [key for key, _, _ in trainings] == [
        ("digits", "a", 0),
        ("digits", "b", 0),
        ("digits", "a", 1),
        ("digits", "b", 1),
    ]
    assert len({folder for _, folder, _ in trainings}) == 4
    _, folder, arguments = trainings[1]
    assert arguments == ("data=digits", "trainer.epochs=1", "model=b", "trainer.seed=0", f"folder={folder}")


def test_a_networks_own_choice_counts_more_than_the_budgets_and_is_said_once() -> None:
    assert merged(("a=1", "b=2"), ("c=x=y", "a=3")) == ("a=3", "b=2", "c=x=y")
    plan = _plan(networks={"a": ("model=a", "trainer.epochs=9"), "b": ("model=b",)})
    _, folder, arguments = next(plan.trainings())
    assert arguments == ("data=digits", "trainer.epochs=9", "model=a", "trainer.seed=0", f"folder={folder}")


def test_some_networks_alone() -> None:
    plan = _plan(only=("b",))
    assert {key[1] for key, _, _ in plan.trainings()} == {"b"}
    results = plan.results(this_machine(), 1, ())
    assert list(results.networks) == ["b"]
    assert results.orders == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"networks": {}}, "networks"),
        ({"seeds": (1, 1)}, "different ones"),
        ({"only": ("c",)}, "only"),
        ({"orders": (("a", "c"),)}, "orders"),
        ({"networks": {"a/b": ()}, "orders": ()}, "letters"),
        ({"threads": 0}, "threads"),
    ],
)
def test_what_cannot_be_a_page_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _plan(**changed)


def test_the_picture_has_a_panel_a_data_set_and_a_row_a_network() -> None:
    figure = results_figure(_results(*(_run(name, 0, 30, data) for name in ("a", "b", "c") for data in ("x", "y"))))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["x", "y"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


@pytest.mark.skipif(not (DOCS / "results.json").exists(), reason="no results page yet")
def test_the_committed_page_is_that_of_its_record() -> None:
    assert (DOCS / "results.md").read_text() == results_page(read_results(DOCS / "results.json"), "results.png")
