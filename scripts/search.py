"""conf/search.yaml -> a Pareto front of networks that were really trained, compiled and simulated, in one folder."""

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


@script("search", "Search networks for accuracy and speed on a processor.")
def main(config: DictConfig) -> None:
    """Search, compare with random networks, write the best."""
    console = Console()
    with console.status(PLANNING):
        plan = standard_plan(config, factory=f"{Path(__file__).resolve()}:parts", build=models.build)
    folder = Path(config.resume or config.folder)
    train = python_command(Path(__file__).with_name("train.py"))
    retrain = f"{train} arch_file={{arch}} data={plan.settings['data']['source']} trainer.epochs=20"
    chosen = {"workers": config.workers, "baseline": config.baseline, "retrain": retrain}
    search_and_report(folder, plan, from_config(chosen, RunOptions, "search"), console)


if __name__ == "__main__":
    main()
