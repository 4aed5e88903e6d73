"""A profile as people read it: a table of layers, and the totals beside what they could be."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.core.units import binary, si
from nas.cost.profile import LayerProfile, Profile
from nas.report.programs.trace_rows import shown_layer

_NARROW = 100
_WIDE_ONLY = ("share", "MACs", "pixels/weight")


def print_profile(profile: Profile, console: Console) -> None:
    """Print the layers, then the three programs and the bound. A narrow terminal gets fewer columns; no name is cut.

    Of the cycles that are shown of a layer those that bank conflicts cost have a column where there are any.
    """
    table = Table(
        title=escape(f"{profile.name} on {profile.processor}"), title_justify="left", box=None, pad_edge=False
    )
    rows = [_cells(layer) for layer in profile.layers]
    idle = () if any(layer.conflict_cycles for layer in profile.layers) else ("conflicts",)
    narrow = _WIDE_ONLY if console.width < _NARROW else ()
    names = [name for name in (rows[0] if rows else {}) if name not in (*idle, *narrow)]
    for name in names:
        left = name in ("layer", "engine", "bound")
        table.add_column(
            name,
            justify="left" if left else "right",
            no_wrap=name != "layer",
            min_width=18 if name == "layer" else None,
        )
    for row in rows:
        table.add_row(*(row[name] for name in names))
    console.print(table, markup=False)  # names may have brackets in them
    console.print(_totals(profile), highlight=False)
    if profile.cores > 1 or profile.tried:
        console.print(cores_text(profile), highlight=False)
    if profile.host_layers:
        listed = ", ".join(dict.fromkeys(map(shown_layer, profile.host_layers)))
        console.print(
            f"no engine knows these, so the host computes them: {listed}", style="yellow", highlight=False, markup=False
        )


def _cells(layer: LayerProfile) -> dict[str, str]:
    row = layer.row
    return {
        "layer": shown_layer(row.layer),
        "engine": layer.engine,
        "cycles": f"{row.busy_cycles.get(layer.engine, 0):,}",
        "conflicts": f"{layer.conflict_cycles:,}" if layer.conflict_cycles else "",
        "share": f"{row.share:.1%}",
        "in use": f"{row.utilisation:.0%}" if layer.engine == "matrix" else "",
        "MACs": si(row.macs) if row.macs else "",
        "DRAM": binary(row.dram_bytes) if row.dram_bytes else "",
        "pixels/weight": f"{layer.pixels_per_weight:.3g}" if layer.pixels_per_weight else "",
        "bound": row.bound,
    }


def _totals(profile: Profile) -> str:
    cost, parallel = profile.cost, max(profile.parallel_cycles, 1)
    return (
        f"latency {si(cost.latency_s, 's')} ({parallel:,} cycles): {parallel / max(profile.bound_cycles, 1):.2f} x the "
        f"lower bound; one engine at a time {profile.sequential_cycles / parallel:.2f} x as long, "
        f"naive {profile.naive_cycles / parallel:.1f} x\n"
        f"energy {si(cost.energy_pj * 1e-12, 'J')}, SRAM peak {binary(cost.peak_sram_bytes)}, DRAM traffic "
        f"{binary(cost.dram_bytes)} ({cost.dram_bytes / max(profile.compulsory_bytes, 1):.2f} x what must move), "
        f"{cost.parameters:,} parameters in {binary(cost.parameter_bytes)}, {si(cost.macs)} multiply-adds"
    )


def cores_text(profile: Profile) -> str:
    """What several cores bring, or images in turn, and the other ways to share the work that were tried, the fastest first."""
    faster = profile.one_core_cycles / max(profile.parallel_cycles, 1)
    ways = sorted(profile.tried.items(), key=lambda item: item[1])
    cores = f"{profile.cores} cores: {faster:.2f} x as fast as one" if profile.cores > 1 else "a batch on one core"
    what = (
        "ways to share the operators, so many by rows, by channels, or left to one core"
        if profile.cores > 1
        else "ways"
    )
    lines = [
        f"{cores}; transfers keep the DRAM busy {profile.dram_share:.0%} of the time. {what.capitalize()} (*: taken):"
    ]
    for name, cycles in ways:
        mark = "*" if name == profile.partition else " "
        lines.append(f"  {mark} {cycles:>13,} cycles  {profile.one_core_cycles / max(cycles, 1):5.2f} x  {name}")
    return "\n".join(lines)
