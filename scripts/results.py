"""conf/results.yaml -> many trainings, each a command of scripts/train.py, and one page about all of them."""

import sys
from pathlib import Path

from entry import script
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from nas.core.artifact import write_bytes
from nas.core.config import from_config
from nas.core.machine import this_machine, usable_cores
from nas.report.pages.results import Run, write_results
from nas.report.pages.results_page import results_page
from nas.report.pages.results_picture import save_results_picture
from nas.report.pages.results_plan import ResultsPlan
from nas.train.many import Job, run_all
from nas.train.run import read_result

_TRAIN = (sys.executable, str(Path(__file__).resolve().with_name("train.py")))


def _run(key: tuple[str, str, int], folder: Path) -> Run:
    result = read_result(folder)
    test, trained = result.test, result.train
    return Run(*key, test.errors, test.images, trained.parameters, trained.steps, trained.processor_s)


@script("results", "Train many networks and write a page about them.")
def main(config: DictConfig) -> None:
    """Train what is missing; write the record, the page and the picture."""
    plan, console = from_config(config, ResultsPlan, "results"), Console()
    workers = plan.workers or usable_cores()
    jobs = {key: Job(folder, _TRAIN, arguments) for key, folder, arguments in plan.trainings()}
    with Progress(console=console) as progress:
        bar = progress.add_task(f"{len(jobs)} trainings", total=len(jobs))
        run_all(list(jobs.values()), workers, plan.threads, lambda job: progress.advance(bar))
    runs = tuple(_run(key, job.folder) for key, job in jobs.items())
    results = plan.results(this_machine(), workers, runs)
    page = Path(plan.page)
    write_results(page.with_suffix(".json"), results)
    save_results_picture(page.with_suffix(".png"), results)
    write_bytes(page, results_page(results, page.with_suffix(".png").name).encode())
    console.print(f"{page}, with its record and picture; the runs are in {plan.folder}", soft_wrap=True)


if __name__ == "__main__":
    main()
