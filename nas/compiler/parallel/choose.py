"""Which stretches go which way: the cheapest sequence by estimate, by dynamic programming over the operators."""

from collections.abc import Sequence

from nas.compiler.network import Network
from nas.compiler.parallel.cut import can_cut_images
from nas.compiler.parallel.estimate import Estimator
from nas.compiler.parallel.partition import Partition, Stretch, Way
from nas.hw.spec import Processor

# A stretch of more operators is hardly ever worth its halo.
_MOST_OPERATORS = 16
# Stretches that lie behind one another and go the same way are one: nothing is exchanged between them.
_JOINED: tuple[Way, ...] = ("whole", "alone", "images")
_WORDS = {
    "whole": "one core",
    "alone": "one core of each group",
    "images": "images",
    "rows": "rows",
    "channels": "channels",
}


def choose_stretches(
    network: Network, processor: Processor, groups: int, parts: int, ways: tuple[Way, ...]
) -> tuple[Partition, float]:
    """The cheapest partition over groups x parts cores with these ways ("whole" is always one), and its estimate."""
    estimator = Estimator(network, processor, Partition("", (), groups, parts))
    count = len(network.operators)
    apart = [can_cut_images(operator, network) for operator in network.operators]
    best: list[tuple[float, int, Way]] = [(0.0, 0, "whole")]
    for last in range(1, count + 1):
        found: tuple[float, int, Way] | None = None
        for way in ("whole", *ways):
            for first, cycles in estimator.backwards(last, way, _MOST_OPERATORS):
                if way != "whole" and groups > 1 and not apart[first]:
                    break
                total = best[first][0] + cycles
                if found is None or total < found[0]:
                    found = (total, first, way)
        assert found is not None  # "whole" always can
        best.append(found)
    stretches: list[Stretch] = []
    last = count
    while last:
        _, first, way = best[last]
        if stretches and stretches[0].way == way and way in _JOINED:
            stretches[0] = Stretch(first, stretches[0].last, way)
        else:
            stretches.insert(0, Stretch(first, last, way))
        last = first
    return Partition(_name(stretches, groups, parts), tuple(stretches), groups, parts), best[count][0]


def _name(stretches: Sequence[Stretch], groups: int, parts: int) -> str:
    """How many cores, and how many operators go which way."""
    counts: dict[str, int] = {}
    for stretch in stretches:
        way = _WORDS[stretch.way]
        if stretch.way == "alone":
            way = "each some images" if parts == 1 else "one core" if groups == 1 else way
        counts[way] = counts.get(way, 0) + stretch.last - stretch.first
    grouped = f" in {groups} groups of images" if groups > 1 and parts > 1 else ""
    return f"{groups * parts} cores{grouped}: " + ", ".join(f"{way} {count}" for way, count in counts.items())
