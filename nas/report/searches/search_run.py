"""A plan -> a finished search and all that it leaves: the records, `best/`, the front as table, JSON, CSV and picture.

The comparison with chance is a second search in `random/` of the same budget, sampled at random. It takes over the random
candidates that the search began with, which are as random as its own, and both budgets count them.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from nas.core.artifact import write_json
from nas.core.command import python_command
from nas.core.errors import CoevoError, InputError
from nas.core.machine import usable_cores
from nas.core.units import si
from nas.report.searches.front_picture import save_front
from nas.report.searches.live import LiveView
from nas.report.searches.search_board import BY_CHANCE, SearchBoard, write_front
from nas.report.searches.search_table import comparison, corner, front_table, none_fits, summary, write_front_csv
from nas.report.terminal import LOADING
from nas.search.running.best import filled_in, within, write_best
from nas.search.running.evaluate import load_parts
from nas.search.running.plan import PLAN_NAME, Plan, write_plan
from nas.search.running.study import Search
from nas.search.running.supervise import Watcher, alone, run_search
from nas.search.sampling.proposal import START
from nas.search.trials.record import Record, read_records
from nas.search.trials.space import Space

COMPARISON_KIND, COMPARISON_VERSION = "search_comparison", 1
_FILE_COLUMNS = 140  # of a table where there is no terminal to fit it to
_MOST_WORKERS = 8  # one host's Journal file and memory; more are for a launcher on several hosts


class NothingFoundError(CoevoError):
    """Every candidate failed or was rejected: there is no front."""


class RunOptions(msgspec.Struct, frozen=True):
    """workers: processes, None is one per CPU core; baseline: whether to compare with random networks.

    retrain: the command that trains a found network for longer, with {arch} for the path of its description.
    """

    workers: int | None = None
    baseline: bool = True
    retrain: str = "{arch}"


def search_and_report(folder: Path, plan: Plan, options: RunOptions, console: Console) -> None:
    """Run or go on with the search in `folder`, show it while it runs, and write what it found."""
    cores = usable_cores()
    workers = options.workers if options.workers is not None else min(cores, _MOST_WORKERS)
    if workers < 1:
        raise InputError("workers", "", "at least 1", workers)
    if not console.is_terminal:
        console.width = _FILE_COLUMNS
    goes_on = (folder / PLAN_NAME).exists()
    with alone(folder):  # before anybody's plan is written over
        write_plan(folder, plan)
    console.print(f"{'going on with' if goes_on else 'searching in'} {folder}", highlight=False, soft_wrap=True)
    if plan.limit_found and plan.limits.latency_s:
        limit = f"constraints.latency_s: {si(plan.limits.latency_s, 's')}, {plan.limit_found}"
        console.print(limit, highlight=False, soft_wrap=True)
    with console.status(LOADING):
        parts = load_parts(plan.factory, plan.settings)
    found, others = _search(folder, plan, workers, max(1, cores // workers), options.baseline, console)
    with console.status("best networks: testing and compiling ..."):
        rows = write_best(folder, found, plan.reference, parts, options.retrain)
    write_front_csv(folder / "front.csv", rows)
    save_front(folder / "front.png", found, others, plan.reference, _title(plan, found))
    console.print(front_table(found, Space(plan.space), plan.reference, rows))
    if not others and not within(found, plan.reference):
        worse = f"none of them lies within the reference point ({corner(plan.reference)})"
        console.print(worse, style="yellow", highlight=False, soft_wrap=True)
    if others:
        _compare(folder, plan, found, others, console)
    _say_where(folder, rows[-1].folder if rows else None, options.retrain, console)


def _search(
    folder: Path, plan: Plan, workers: int, threads: int, baseline: bool, console: Console
) -> tuple[list[Record], list[Record]]:
    """The records of the search, and of its random counterpart if there is to be one."""
    with SearchBoard(folder / "tensorboard", "search") as board:
        _run(folder, workers, threads, f"search by {plan.sampler['name']}", board, console)
    found = read_records(folder)
    if not any(record.point for record in found):
        raise NothingFoundError(_why_nothing(folder, plan, found))
    return found, _by_chance(folder, plan, found, workers, threads, console) if baseline else []


def _why_nothing(folder: Path, plan: Plan, found: Sequence[Record]) -> str:
    reason = none_fits(found, plan.limits)
    if reason and not any(record.trained for record in found):
        return f"{folder}: expected at least one network within the constraints, got none of {len(found)}; {reason}"
    reasons = Counter(summary(record) for record in found).most_common(1)
    most = f"; most often: {reasons[0][0]}" if reasons else ""
    return f"{folder}: expected at least one network that can be trained, got none of {len(found)}{most}"


def _title(plan: Plan, found: Sequence[Record]) -> str:
    """Of the picture: on which data, for which processor. A plan of other parts need not say."""
    data = plan.settings.get("data", {}).get("source", "networks found")
    processor = plan.settings.get("hardware", {}).get("name")
    on = f" on {processor}" if processor else ""
    return f"{data}{on}, {sum(record.trained for record in found)} trainings"


def _run(folder: Path, workers: int, threads: int, title: str, board: SearchBoard, console: Console) -> None:
    with LiveView(console, title) as view:
        watchers: Sequence[Watcher] = (view, board)
        progress = run_search(folder, workers, threads, watchers)
    console.print(f"{title}: {progress.ended}, {progress.elapsed_s:.0f} s", style="bold", highlight=False)


def _by_chance(
    folder: Path, plan: Plan, found: Sequence[Record], workers: int, threads: int, console: Console
) -> list[Record]:
    place = folder / "random"
    write_plan(place, msgspec.structs.replace(plan, sampler={"name": "random"}, study_name=f"{plan.study_name}-random"))
    search = Search(place)
    known = {record.key for record in read_records(place)}
    shared = [record for record in found if record.origin == START]
    for record in shared:
        if record.key not in known:
            search.add(record)
    with SearchBoard(folder / "tensorboard", BY_CHANCE, {record.key for record in shared}) as board:
        _run(place, workers, threads, "random, to compare", board, console)
    others = read_records(place)
    with SummaryWriter(str(folder / "tensorboard" / "compared")) as writer:
        write_front(writer, found, others, plan.reference, plan.trials)
    return others


def _compare(folder: Path, plan: Plan, found: Sequence[Record], others: Sequence[Record], console: Console) -> None:
    shared = sum(record.origin == START and record.trained for record in others)
    ours, chance, text = comparison(plan, found, others, shared)
    value = {
        "hypervolume": ours,
        "hypervolume_random": chance,
        "shared": shared,
        "reference": plan.reference,
        "text": text,
    }
    write_json(folder / "comparison.json", value, COMPARISON_KIND, COMPARISON_VERSION)
    console.print(text, style="bold green" if ours > chance else "yellow", highlight=False, soft_wrap=True)


def _say_where(folder: Path, most_accurate: str | None, retrain: str, console: Console) -> None:
    if most_accurate is not None:
        console.print(
            f"in {folder}: best/ (networks, compiled), front.png, front.csv, trials/, tensorboard/", soft_wrap=True
        )
        command = filled_in(retrain, folder / most_accurate)
        console.print(f"train the most accurate for longer:  {command}", highlight=False, soft_wrap=True)
    by_make = Path("Makefile").exists() and folder.resolve().is_relative_to(Path("runs").resolve())
    command = "make tensorboard" if by_make else python_command("-m", "tensorboard.main", "--logdir", str(folder))
    console.print(f"compare in a browser:  {command}", highlight=False, soft_wrap=True)
