"""An explanation of a layer as people read it in a terminal: from what it costs to what would help."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.core.units import binary, si
from nas.cost.explain import EngineUse, Explanation

_WAITS = 2
_PRODUCTS = 4


def print_explanation(seen: Explanation, console: Console) -> None:
    """Print the engines, the array, the traffic, the roofline and the what-ifs of a layer."""
    console.print(
        f"\n[bold]{escape(seen.layer)}[/] of {escape(f'{seen.network} on {seen.processor}')}", highlight=False
    )
    console.print(
        f"from cycle {seen.first_cycle:,} to {seen.end_cycle:,} of {seen.network_cycles:,}, "
        f"{seen.share:.1%} of what all engines do, {si(seen.macs)} multiply-adds",
        highlight=False,
    )
    console.print("\nengines: who works, and what they wait for before they begin")
    console.print(_engines(seen), markup=False)  # names may have brackets in them
    if seen.array.cycles:
        console.print(f"\nthe array: {seen.array.utilisation:.1%} in use; where its cycles go", highlight=False)
        console.print(_array(seen))
        for line in _products(seen):
            console.print(line, highlight=False)
    _print_traffic(seen, console)
    console.print("\nwhat if, measured: cycles saved")
    console.print(_what_ifs(seen))


def _engines(seen: Explanation) -> Table:
    table = _table("engine", "commands", "busy", "of it conflicts", "waiting", "for")
    for use in seen.engines:
        cycles = (f"{each:,}" for each in (use.busy_cycles, use.conflict_cycles, use.waiting_cycles))
        table.add_row(use.engine, str(use.commands), *cycles, _waits(use))
    return table


def _waits(use: EngineUse) -> str:
    shown = [f"{what} {cycles:,}" for what, cycles in list(use.waits.items())[:_WAITS]]
    more = len(use.waits) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _array(seen: Explanation) -> Table:
    table = _table("part", "cycles", "share")
    for part, cycles in seen.array.parts.items():
        if round(cycles):
            table.add_row(part, f"{cycles:,.0f}", f"{cycles / seen.array.cycles:.1%}")
    return table


def _products(seen: Explanation) -> Iterator[str]:
    for product in seen.array.products[:_PRODUCTS]:
        groups = f", {product.groups} groups" if product.groups > 1 else ""
        folds = f"{product.folds} fold" + "s" * (product.folds != 1)
        yield (
            f"{product.commands} x M={product.pixels} K={product.terms} N={product.channels}{groups}: "
            f"{folds}, {product.dataflow.replace('_', '-')}"
        )
    if len(seen.array.products) > _PRODUCTS:
        yield f"and {len(seen.array.products) - _PRODUCTS} other shapes"


def _print_traffic(seen: Explanation, console: Console) -> None:
    parts = ", ".join(f"{binary(size_bytes)} {kind}" for kind, size_bytes in seen.dram_bytes.items())
    roofline = seen.roofline
    cores = f" of {roofline.cores} cores" if roofline.cores > 1 else ""
    console.print(f"\nDRAM: {parts or 'nothing'}", highlight=False)
    intensity = roofline.intensity
    side = "memory" if intensity is not None and intensity < roofline.ridge else "compute"
    reached = "no DRAM traffic" if intensity is None else f"{_few_digits(intensity)} multiply-adds a byte"
    console.print(
        f"roofline: {reached}, on the {side} side of the ridge at {_few_digits(roofline.ridge)}, so at most "
        f"{_few_digits(roofline.roof)} of {_few_digits(roofline.peak)} a cycle{cores}; {_few_digits(roofline.attained)} attained; "
        f"busiest: {roofline.bound}",
        highlight=False,
    )


def _few_digits(value: float) -> str:
    """A whole number, or two digits of a small one: of an array of one cell it is all that there is to see."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _what_ifs(seen: Explanation) -> Table:
    table = _table("change", "layer", "network", "of the network")
    for each in seen.what_ifs:
        share = each.network_cycles_saved / max(1, seen.network_cycles)
        table.add_row(each.what, f"{each.layer_cycles_saved:,}", f"{each.network_cycles_saved:,}", f"{share:.1%}")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, name in enumerate(columns):
        left = index == 0 or name == "for"
        table.add_column(name, justify="left" if left else "right", no_wrap=not left)
    return table
