"""The commands that a search ends with are ones for a shell, whatever its folder is called and wherever it lies."""

import io
import shlex

from rich.console import Console

from nas.report.searches.search_run import RunOptions, search_and_report
from nas.search.running.evaluate import load_parts
from nas.search.running.plan import write_plan
from nas.search.running.study import work


def _said(folder, plan, retrain="train arch_file={arch}"):
    """What a search says that another run has finished."""
    write_plan(folder, plan)
    work(folder, "worker", lambda: load_parts(plan.factory, plan.settings))
    text = io.StringIO()
    search_and_report(folder, plan, RunOptions(1, baseline=False, retrain=retrain), Console(file=text))
    return text.getvalue()


def test_the_command_that_trains_for_longer_has_its_path_quoted(make_plan, tmp_path):
    folder = tmp_path / "my search"
    said = _said(folder, make_plan(trials=2), "train arch_file={arch} 'model.quantization={weight_bits: 1}'")
    _, command = next(line for line in said.splitlines() if line.startswith("train the most")).split(":  ", 1)
    for line in (command, *(path.read_text() for path in folder.glob("best/*/retrain.txt"))):
        _, arch, other = shlex.split(line)
        assert other == "model.quantization={weight_bits: 1}"
        assert (folder / "best") in [
            path.parent for path in folder.glob("best/*") if arch == f"arch_file={path}/arch.json"
        ]


def test_make_shows_the_runs_of_this_checkout_alone(make_plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Makefile").touch()
    assert _said(tmp_path / "runs" / "search" / "a", make_plan(trials=2)).endswith(
        "compare in a browser:  make tensorboard\n"
    )
    elsewhere = tmp_path / "else where"
    command = _said(elsewhere, make_plan(trials=2)).splitlines()[-1].partition("browser:  ")[2]
    assert shlex.split(command)[1:] == ["-m", "tensorboard.main", "--logdir", str(elsewhere)]
