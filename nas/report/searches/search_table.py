"""Records of a search -> words: one line per network, the front as a table and as CSV, the comparison with random networks."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from nas.core.artifact import write_bytes
from nas.core.errors import Violation
from nas.core.units import amount, binary, rounded_up, si
from nas.search.running.best import FrontRow, front
from nas.search.running.plan import Plan
from nas.search.trials.objective import Limits, Reference
from nas.search.trials.pareto import hypervolume
from nas.search.trials.record import Record
from nas.search.trials.space import Space


def summary(record: Record) -> str:
    """One line: what was found, or why not."""
    if record.state == "failed":
        return f"failed: {record.traceback.strip().splitlines()[-1]}"
    if record.state == "rejected":
        reasons = [violation.help if violation.what == "legal" else str(violation) for violation in record.violations]
        return "rejected: " + "; ".join(reasons)
    assert record.error is not None and record.cost is not None
    stopped = " (stopped early)" if record.state == "stopped" else ""
    return (
        f"error {record.error:6.2%}{stopped}  latency {si(record.cost.latency_s, 's'):>7}  "
        f"{si(record.cost.parameters):>6} weights  {sum(record.seconds.values()):4.1f} s"
    )


def describe(params: Mapping[str, object], space: Space) -> str:
    """The choices that matter, short: "stem_width 16 | conv d1 w32 k3 wb8 ab4 | ..."; words stand alone, numbers after initials."""
    active = space.active(dict(params))  # type: ignore[arg-type]
    groups: dict[str, list[str]] = {}
    for name in space.parameters:
        if name not in active:
            continue
        prefix, _, leaf = name.rpartition(".")
        in_list = any(part.isdigit() for part in prefix.split("."))
        value = params[name]
        if isinstance(value, str):
            text = value
        elif in_list:
            text = "".join(word[0] for word in leaf.split("_")) + str(value)
        else:
            text = f"{leaf.removesuffix('_width')} {value}"
        groups.setdefault(prefix if in_list else name, []).append(text)
    return " | ".join(" ".join(words) for words in groups.values())


def front_table(records: Sequence[Record], space: Space, reference: Reference, rows: Sequence[FrontRow] = ()) -> Table:
    """The front within the reference point, the fastest first; `rows` add the test errors."""
    table = Table(title="Pareto front", title_justify="left", title_style="bold", pad_edge=False, box=None)
    tests = {row.number: row.figures.get("test_error") for row in rows}
    table.add_column("#", justify="right", style="dim")
    table.add_column("latency", justify="right", style="cyan", no_wrap=True)
    table.add_column("error (95 %)", justify="right", style="bold green", no_wrap=True)
    if tests:
        table.add_column("test", justify="right", no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    table.add_column("SRAM", justify="right", no_wrap=True)
    table.add_column("network", overflow="fold")
    for record in front(records, reference):
        assert record.cost is not None and record.error is not None
        low, high = record.error_low, record.error_high
        between = f" ({low:.1%}-{high:.1%})" if low is not None and high is not None else ""
        cells = [str(record.number), si(record.cost.latency_s, "s"), f"{record.error:.1%}{between}"]
        if tests:
            test = tests.get(record.number)
            cells.append("" if test is None else f"{test:.1%}")
        cells += [si(record.cost.parameters), binary(record.cost.peak_sram_bytes), describe(record.params, space)]
        table.add_row(*cells)
    return table


def write_front_csv(path: Path, rows: Sequence[FrontRow]) -> None:
    """The front for a spreadsheet, units in the names of the columns."""
    text = io.StringIO()
    figures = sorted({name for row in rows for name in row.figures})
    costs = [
        "latency_s",
        "cycles",
        "energy_pj",
        "peak_sram_bytes",
        "dram_bytes",
        "parameters",
        "parameter_bytes",
        "macs",
    ]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "trial", "key", "error", "error_low", "error_high", *figures, *costs, "folder"])
    for row in rows:
        measured = [row.figures.get(name, "") for name in figures]
        priced = [getattr(row.cost, name) for name in costs]
        writer.writerow(
            [row.rank, row.number, row.key, row.error, row.error_low, row.error_high, *measured, *priced, row.folder]
        )
    write_bytes(path, text.getvalue().encode())


def comparison(
    plan: Plan, found: Sequence[Record], by_chance: Sequence[Record], shared: int
) -> tuple[float, float, str]:
    """The two hypervolumes and the sentence that compares them; `shared` random networks began both."""
    ours, chance = (
        hypervolume([record.point for record in records if record.point is not None], plan.reference.point)
        for records in (found, by_chance)
    )
    trained = [sum(record.trained for record in records) for records in (found, by_chance)]
    terms = (
        f"{trained[0]} trainings each"
        + ("" if trained[0] == trained[1] else f" (by chance {trained[1]})")
        + f", the first {shared} random ones shared; reference point {corner(plan.reference)}."
    )
    if not ours and not chance:
        return ours, chance, f"no verdict: no network lies within the reference point, by search or by chance. {terms}"
    change = f" ({ours / chance - 1:+.1%})" if chance > 0 else ""
    verdict = "ahead of" if ours > chance else "not ahead of"
    text = f"hypervolume {ours:.4f} by search, {chance:.4f} by chance{change}: {verdict} random networks. {terms}"
    return ours, chance, text


def corner(reference: Reference) -> str:
    """The reference point in words."""
    return f"error {reference.error:g}, latency {si(reference.latency_s, 's')}"


def none_fits(records: Sequence[Record], limits: Limits) -> str:
    """Why constraints let nothing pass: what the rejected networks need, the limit, and one to try; "" if no constraint did it."""
    needs: dict[str, list[Violation]] = {}
    for record in records:
        for violation in record.violations:
            if violation.where == "constraints":
                needs.setdefault(violation.what, []).append(violation)
    if not needs:
        return ""
    what = max(needs, key=lambda name: len(needs[name]))
    unit, needed = needs[what][0].unit, [violation.need for violation in needs[what]]
    typical = statistics.median(needed)
    value = rounded_up(typical)
    return (
        f"{what}: needs {amount(min(needed), unit)} to {amount(max(needed), unit)} (median {amount(typical, unit)}), "
        f"limit {amount(getattr(limits, what), unit)}; try constraints.{what}={_typed(value)}"
    )


def _typed(value: float) -> str:
    """As one would type it: 4.2e-4, 52000."""
    return f"{value:.0f}" if value >= 1 else f"{value:.1e}".replace("e-0", "e-").replace(".0e", "e")
