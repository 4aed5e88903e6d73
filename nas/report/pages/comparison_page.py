"""`Comparison` -> a page in Markdown: a table for each operating point, and what can be said of the quota there."""

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from nas.report.pages.comparison import CURRENCY, PLACES, Comparison, mean_error
from nas.report.pages.mean import Mean, mean_of
from nas.search.pruning.prune_compare import Point, PruneRecord

_QUOTA = "quota"
# Of the command line: what the page says in its own words, and where files lie.
_TOLD = {
    "data", "data.train_images", "data.test_images", "data.test_split", "trainer.epochs",
    "at", "methods", "seeds", "missing", *PLACES,
}  # fmt: skip
_MEANING = {
    "quota": "widths by curves, weighed by the losses of draws, or even ones, whichever err least in a try-out; channels by magnitude",
    "quota_no_draws": "as quota, without draws",
    "quota_handed": "as quota; channels that go hand over what they did",
    "quota_even": "even widths; channels that go hand over what they did",
    "quota_gradual": "handed over while the urn shrinks over a fifth of the steps",
    "quota_losses": "mean widths trained, adjusted by the losses of draws",
    "quota_draws": "draws trained, adjusted by their losses",
    "quota_channels": "draws trained, adjusted by Taylor importance over price",
    "even": "p frozen at even widths; channels by magnitude",
    "even_equal_time": "as even, trained for the CPU time of the quota with its search",
    "random": "random widths of the same price; channels by magnitude",
    "published": "the published widths, scaled to the price; channels by magnitude",
    "scratch": "even widths, new weights",
    "scratch_equal_time": "as scratch, trained for the CPU time of the whole network and the quota together",
    "tp_magnitude": "Torch-Pruning, global group magnitude",
    "tp_batch_norm": "Torch-Pruning, global batch-norm scale",
    "tp_taylor": "Torch-Pruning, global group Taylor",
}


def comparison_page(comparison: Comparison, picture: str) -> str:
    """The page; picture: the path of the picture from where the page lies, which has the page's name."""
    parts = [_head(comparison, picture), *(_point(comparison, point) for point in comparison.points)]
    return "\n\n".join(parts) + "\n"


def _head(comparison: Comparison, picture: str) -> str:
    budget, machine = comparison.budget, comparison.machine
    whole = comparison.whole()
    hours = sum(record.cpu_s for record in comparison.records) / 3600
    split, images = "", "test images"
    if budget.test_split != "test":
        split, images = (
            f"data.test_split={budget.test_split} ",
            "images that nothing was trained on, in the place of the test images",
        )
    page = f"page=docs/{PurePath(picture).stem}.md"
    others = [word for word in comparison.words if word.lstrip("+~").partition("=")[0] not in _TOLD]
    command = (
        f"python scripts/compare_pruning.py data={budget.source} data.train_images={budget.training_images} {split}"
        f"data.test_images={budget.test_images} trainer.epochs={budget.whole_epochs:g} {shlex.join([*others, page])}"
    )
    return (
        "# Ways to a network of the same price\n\n"
        f"This page is made from records by {_commands(comparison, command)}, which runs what is "
        "missing and goes on after an interruption; it is not to be edited by hand. "
        "[docs/quota.md](quota.md) says what the quota does.\n\n"
        f"Measured on {machine.processor}, {machine.cores} cores, torch {machine.packages.get('torch', 'unknown')}: "
        f"{len(comparison.records)} trainings, {hours:.1f} hours of processor time. `{budget.source}`, "
        f"{budget.training_images:,} training images, {budget.test_images:,} {images}. For each seed one network is "
        f"trained for {_epochs(budget.whole_epochs)} of batch {budget.batch_size}, "
        f"{mean_error(whole).percent()} % error; from it every method makes one that costs no more than the point allows, and "
        f"trains it for {_epochs(budget.epochs)} at a peak rate of {budget.learning_rate:g}, on the same batches. "
        "± is the half of a 95 % interval over the seeds (Student's t). *Against the quota*: the mean, over the same seeds, of "
        "the method's error less the quota's; in bold where its interval leaves out zero. Who has fewer values was run on the first seeds "
        "alone. Latencies are simulated.\n\n"
        f"![test error of every method at every point]({picture})"
    )


def _epochs(count: float) -> str:
    return f"{count:g} epoch" + "s" * (count != 1)


def _commands(comparison: Comparison, first: str) -> str:
    """What makes the page: a command, and one for the methods that ran with some of the seeds alone."""
    seeds = sorted({record.seed for record in comparison.records})
    at = ",".join(point.name for point in comparison.points)
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for method in _MEANING:
        ran = {record.seed for record in comparison.records if record.point and record.method == method}
        if ran:
            by_seeds.setdefault(tuple(sorted(ran)), []).append(method)
    whole, *parts = sorted(by_seeds, key=lambda each: (each != tuple(seeds), each))
    commands = [f"`{first} at=[{at}] {_chosen(by_seeds[whole], whole)}`"]
    commands += [f"`{_chosen(by_seeds[part], part)}`" for part in parts]
    return " and then with ".join(commands)


def _chosen(methods: Sequence[str], seeds: Sequence[int]) -> str:
    return f"methods=[{','.join(methods)}] seeds=[{','.join(map(str, seeds))}]"


def _point(comparison: Comparison, point: Point) -> str:
    allowed = f"at most {point.share:.2%}".rstrip("0%").rstrip(".") + " %"
    title = f"## {point.name}: {allowed} of the whole network's {CURRENCY.get(point.price, point.price)}"
    lines = [
        title,
        "",
        "| method | what it is | widths, by seed | error, % | each seed, % | against the quota, points | price | latency, us | CPU s |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for method in comparison.methods(point.name):
        records = comparison.of(point.name, method)
        each = ", ".join(f"{100 * record.error.rate:.2f}" for record in records)
        widths = " / ".join(dict.fromkeys(" ".join(map(str, record.widths)) for record in records))
        name = f"**{method}**" if method == _QUOTA else method
        price = mean_of([record.price_share for record in records]).value
        lines.append(
            f"| {name} | {_MEANING.get(method, '')} | {widths} | {mean_error(records).percent()} | {each} "
            f"| {_difference(comparison, point.name, method)} | {price:.3f} | {_latency(records)} "
            f"| {mean_of([record.cpu_s for record in records]).value:.0f} |"
        )
    return "\n".join([*lines, "", *_verdict(comparison, point.name)])


def _difference(comparison: Comparison, point: str, method: str) -> str:
    found = None if method == _QUOTA else comparison.against(point, method, _QUOTA)
    if found is None:
        return ""
    text = f"{100 * found.value:+.2f}" + ("" if math.isnan(found.half) else f" ± {100 * found.half:.2f}")
    return f"**{text}**" if _certain(found) else text


def _verdict(comparison: Comparison, point: str) -> list[str]:
    told: dict[str, list[str]] = {"better": [], "worse": [], "unsure": [], "alone": []}
    for method in comparison.methods(point):
        found = None if method == _QUOTA else comparison.against(point, method, _QUOTA)
        if found is not None:
            sure = ("better" if found.value > 0 else "worse") if _certain(found) else "unsure"
            told["alone" if math.isnan(found.half) else sure].append(method)
    said = {
        "better": "The quota is better, beyond the interval, than",
        "worse": "It is **worse**, beyond the interval, than",
        "unsure": "Within the interval:",
        "alone": "One seed, so no interval:",
    }
    return [f"- {said[key]} {', '.join(names)}." for key, names in told.items() if names]


def _certain(difference: Mean) -> bool:
    return abs(difference.value) > difference.half  # an unknown interval says nothing


def _latency(records: list[PruneRecord]) -> str:
    known = [record.latency_s for record in records if record.latency_s is not None]
    return f"{1e6 * sum(known) / len(known):,.0f}" if len(known) == len(records) else "does not fit"
