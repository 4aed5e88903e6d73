"""`Results` -> a page in Markdown: tables with intervals and times, what a paper's order came to, and every command."""

import shlex
from collections.abc import Iterator
from itertools import pairwise

from nas.report.pages.results import Results, Run, mean_error, merged

_TRAIN = "python scripts/train.py"


def results_page(results: Results, picture: str) -> str:
    """The page; picture: the path of the picture from where the page lies."""
    parts = [_head(results, picture), *(_table(results, data) for data in results.data)]
    if results.orders:
        parts.append("## Fewer bits, more error?\n\n" + "\n".join(_order_lines(results)))
    parts.append(_commands(results))
    return "\n\n".join(parts) + "\n"


def _head(results: Results, picture: str) -> str:
    machine, packages = results.machine, results.machine.packages
    seeds = sorted({run.seed for run in results.runs})
    minutes = sum(run.processor_s for run in results.runs) / 60
    return (
        "# Results\n\n"
        "This page is made from the records of its runs by `make results`, which trains what is missing and goes on after an "
        "interruption; it is not to be edited by hand.\n\n"
        f"Measured on {machine.processor}, {machine.cores} cores, torch {packages.get('torch', 'unknown')}: "
        f"{len(results.runs)} trainings, {results.workers} side by side with {results.threads} "
        f"thread{'s' if results.threads > 1 else ''} each, {minutes:.0f} minutes of processor time in all. "
        f"Common to all: `{' '.join(results.budget)}`; these are small budgets, to compare with, not the least error that a "
        f"network can reach. Errors are of the test images, in float32, at the end of the training: nothing was chosen by them. "
        f"The interval is of the mean over seeds {', '.join(map(str, seeds))} (95 %, Student's t).\n\n"
        f"![test error of every network on every data set]({picture})"
    )


def _table(results: Results, data: str) -> str:
    lines = [
        f"## {data}",
        "",
        f"`{' '.join(results.data[data])}`; {results.of(data, next(iter(results.networks)))[0].images:,} test images.",
        "",
        "| network | parameters | steps | test error, % | each seed, % | a run, CPU s |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for network in results.networks:
        runs = results.of(data, network)
        each = ", ".join(f"{100 * run.error_rate:.2f}" for run in runs)
        lines.append(
            f"| {network} | {runs[0].parameters:,} | {runs[0].steps:,} | {mean_error(runs).percent()} | {each} "
            f"| {_mean_processor_s(runs):.0f} |"
        )
    return "\n".join(lines)


def _order_lines(results: Results) -> Iterator[str]:
    """What came out as the paper has it, and what did not."""
    for names in results.orders:
        yield f"Expected to rise from left to right: {' ≤ '.join(names)}."
        yield ""
        for data in results.data:
            means = {name: mean_error(results.of(data, name)) for name in names}
            wrong = [(left, right) for left, right in pairwise(names) if means[left].value > means[right].value]
            if not wrong:
                yield f"- **{data}**: so it is."
            for left, right in wrong:
                apart = (
                    "the intervals overlap" if means[left].overlaps(means[right]) else "the intervals do not overlap"
                )
                yield (
                    f"- **{data}**: **not** between {left} ({means[left].percent()} %) and {right} "
                    f"({means[right].percent()} %); {apart}."
                )


def _commands(results: Results) -> str:
    first_data = next(iter(results.data))
    seed = min(run.seed for run in results.runs)
    threads = f"OMP_NUM_THREADS={results.threads} "  # another number rounds, and so trains, a little differently
    here = [
        f"# {name}\n{threads}{_command(merged(results.data[first_data], results.budget, choices), seed)}"
        for name, choices in results.networks.items()
    ]
    full = [
        f"# {name}\n{_command(merged(results.full_budget, choices), seed)}"
        for name, choices in results.networks.items()
    ]
    others = "; ".join(f"{name}: `{' '.join(choices)}`" for name, choices in results.data.items() if name != first_data)
    return (
        f"## The commands\n\nThe runs on {first_data} with seed {seed}. For another seed change `trainer.seed`"
        f"{'; for another data set, its choices: ' + others if others else ''}.\n\n"
        "```\n" + "\n".join(here) + "\n```\n\n"
        "The same networks with a full budget on SVHN itself, which is downloaded:\n\n"
        "```\n" + "\n".join(full) + "\n```"
    )


def _command(choices: tuple[str, ...], seed: int) -> str:
    return f"{_TRAIN} {shlex.join([*choices, f'trainer.seed={seed}'])}"


def _mean_processor_s(runs: list[Run]) -> float:
    return sum(run.processor_s for run in runs) / len(runs)
