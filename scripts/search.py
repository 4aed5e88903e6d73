"""conf/search.yaml -> a Pareto front of networks that were really trained, compiled and simulated, in one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entry import script
from omegaconf import DictConfig
from rich.console import Console

import models
from nas.report.search_run import search_and_report
from nas.search.evaluate import Parts
from nas.search.standard import standard_parts, standard_plan

RETRAIN = "python scripts/train.py arch_file={arch} trainer.epochs=20"


def parts(settings: Mapping[str, Any]) -> Parts:
    """What a worker evaluates candidates with; workers find this function by its name."""
    return standard_parts(settings, models.build)


@script("search", "Search networks for accuracy and speed on a processor.")
def main(config: DictConfig) -> None:
    """Search, compare with random networks, write the best."""
    plan = standard_plan(config, factory=f"{Path(__file__).resolve()}:parts")
    folder = Path(config.resume or config.folder)
    search_and_report(folder, plan, config.workers, baseline=config.baseline, retrain=RETRAIN, console=Console())


if __name__ == "__main__":
    main()
