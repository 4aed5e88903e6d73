"""A network and a number of cores -> the partitions that are worth trying, the best by estimate first."""

from collections.abc import Iterator

from nas.compiler.network import Network
from nas.compiler.parallel.choose import choose_stretches
from nas.compiler.parallel.partition import Partition, Stretch, Way
from nas.compiler.parallel.stages import choose_stages
from nas.hw.spec import Processor

# So many partitions are planned and simulated, the best by estimate.
_MOST_TRIED = 10


def candidates(network: Network, processor: Processor) -> Iterator[Partition]:
    """The partitions to try, of a network behind its passes; one core is not among them."""
    ranked: list[tuple[float, int, Partition]] = []
    for groups, parts, ways in _divisions(network, processor.cores):
        partition, cycles = choose_stretches(network, processor, groups, parts, ways)
        if any(stretch.way != "whole" for stretch in partition.stretches):
            ranked.append((cycles, len(ranked), partition))
    for chunks in _chunk_counts(network):
        found = choose_stages(network, processor, processor.cores, chunks)
        if found is not None:
            ranked.append((found[1], len(ranked), found[0]))
    seen: set[tuple[int, int, tuple[Stretch, ...]]] = set()
    for _, _, partition in sorted(ranked, key=lambda entry: entry[:2]):
        kind = (partition.groups, partition.chunks, partition.stretches)
        if kind not in seen and len(seen) < _MOST_TRIED:
            seen.add(kind)
            yield partition


def _chunk_counts(network: Network) -> list[int]:
    """Into how many chunks a pipeline may cut the images: as many as there are, half as many and a quarter."""
    images = _images(network)
    return [images // share for share in (1, 2, 4) if images // share > 1]


def _images(network: Network) -> int:
    return max((network.tensors[name].shape[0] for name in network.outputs), default=1)


def _divisions(network: Network, cores: int) -> Iterator[tuple[int, int, tuple[Way, ...]]]:
    """(groups, parts, ways): how many cores, in how many groups that share out the images."""
    images = _images(network)
    counts = [cores // share for share in (1, 2, 4) if cores // share > 1]
    for count in dict.fromkeys((*counts, min(cores, images))):
        for groups in range(1, min(count, images) + 1):
            parts = count // groups
            if count % groups or count == 1:
                continue
            if parts == 1:
                yield groups, 1, ("alone",)
                continue
            more: tuple[Way, ...] = ("images",) if images > groups else ()
            yield groups, parts, ("alone", "rows", "channels", *more)
            if groups == 1:
                yield groups, parts, ("alone", "rows")
                yield groups, parts, ("alone", "channels")
