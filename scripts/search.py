"""conf/search.yaml -> a Pareto front of networks that were really trained, compiled and simulated, in one folder."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entry import script
from omegaconf import DictConfig
from rich.console import Console

import models
from nas.core.command import python_command
from nas.core.config import from_config
from nas.report.searches.search_run import RunOptions, search_and_report
from nas.report.terminal import PLANNING
from nas.search.running.evaluate import Parts
from nas.search.running.standard import standard_parts, standard_plan


def parts(settings: Mapping[str, Any]) -> Parts:
    """What a worker evaluates candidates with; workers find this function by its name."""
    return standard_parts(settings, models.build)


def retrain_command(data: Mapping[str, Any]) -> str:
    """Trains the network {arch} for longer, with all images of the kind that the search had."""
    words = [f"data={data['source']}", *(f"data.{name}={data[name]}" for name in ("root", "seed") if data[name])]
    train = python_command(Path(__file__).with_name("train.py"))
    return f"{train} arch_file={{arch}} {shlex.join(words)} trainer.epochs=20"


@script("search", "Search networks for accuracy and speed on a processor.")
def main(config: DictConfig) -> None:
    """Search, compare with random networks, write the best."""
    console = Console()
    with console.status(PLANNING):
        plan = standard_plan(config, factory=f"{Path(__file__).resolve()}:parts", build=models.build)
    folder = Path(config.resume or config.folder)
    chosen = {"workers": config.workers, "baseline": config.baseline, "retrain": retrain_command(plan.settings["data"])}
    search_and_report(folder, plan, from_config(chosen, RunOptions, "search"), console)


if __name__ == "__main__":
    main()
