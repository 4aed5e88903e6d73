"""Records of a comparison of pruning methods -> a table: a line for each method at each point, the best error first."""

from collections.abc import Sequence

from rich.table import Table

from nas.search.pruning.prune_compare import PruneRecord, means


def comparison_table(records: Sequence[PruneRecord]) -> Table:
    """Errors are means over the seeds, with their standard errors."""
    table = Table(box=None, pad_edge=False)
    for title in ("point", "method", "widths of the first seed"):
        table.add_column(title)
    for title in ("error", "seeds", "price", "latency", "CPU"):
        table.add_column(title, justify="right", no_wrap=True)
    found = means(records)
    points = list(dict.fromkeys(record.point for record in records))
    for point, method in sorted(found, key=lambda key: (points.index(key[0]), found[key][0])):
        mean, error, seeds = found[point, method]
        first = next(record for record in records if (record.point, record.method) == (point, method))
        latency = "does not fit" if first.latency_s is None else f"{first.latency_s * 1e6:,.0f} us"
        table.add_row(
            point, method, " ".join(map(str, first.widths)), f"{mean:.2%} ± {error:.2%}", str(seeds),
            f"{first.price_share:.3f}", latency, f"{first.cpu_s:.0f} s",
        )  # fmt: skip
    return table
