"""A network and a number of cores -> the partitions that are worth trying, the best by estimate first."""

from collections.abc import Iterator

from nas.compiler.network import Network
from nas.compiler.parallel.choose import choose_stretches
from nas.compiler.parallel.partition import Partition, Stretch, Way
from nas.compiler.parallel.stages import choose_stages
from nas.hw.spec import Processor

# So many partitions for each number of cores are planned and simulated, the best by estimate.
_MOST_TRIED = 5


def core_counts(cores: int) -> list[int]:
    """How many cores to try: all, and each power of two below, so that 8 cores have all the choices of 4."""
    return [*(count for count in (2, 4) if count < cores), *([cores] if cores > 1 else [])]


def candidates(network: Network, processor: Processor, cores: int) -> Iterator[Partition]:
    """The partitions over `cores` cores to try, of a network behind its passes."""
    ranked: list[tuple[float, int, Partition]] = []
    for groups, parts, ways in _divisions(cores, image_count(network)):
        partition, cycles = choose_stretches(network, processor, groups, parts, ways)
        if any(stretch.way not in ("whole", "alone") for stretch in partition.stretches) or groups > 1:
            ranked.append((cycles, len(ranked), partition))
    for chunks in _chunk_counts(image_count(network)):
        found = choose_stages(network, processor, cores, chunks)
        if found is not None:
            ranked.append((found[1], len(ranked), found[0]))
    seen: set[tuple[int, int, tuple[Stretch, ...]]] = set()
    for _, _, partition in sorted(ranked, key=lambda entry: entry[:2]):
        kind = (partition.groups, partition.chunks, partition.stretches)
        if kind not in seen and len(seen) < _MOST_TRIED:
            seen.add(kind)
            yield partition


def image_count(network: Network) -> int:
    """How many images the network takes at a time."""
    return max((network.tensors[name].shape[0] for name in network.outputs), default=1)


def _chunk_counts(images: int) -> list[int]:
    """Into how many chunks a pipeline may cut the images: as many as there are, half as many and a quarter."""
    return [images // share for share in (1, 2, 4) if images // share > 1]


def _divisions(cores: int, images: int) -> Iterator[tuple[int, int, tuple[Way, ...]]]:
    """(groups, parts, ways): into how many groups the cores are divided that share out the images."""
    for groups in range(1, min(cores, images) + 1):
        parts = cores // groups
        if parts == 1 or cores % groups:
            if groups == min(cores, images):
                yield groups, 1, ("alone",)
            continue
        more: tuple[Way, ...] = ("images",) if images > groups else ()
        yield groups, parts, ("alone", "rows", "channels", *more)
        if groups == 1:
            yield groups, parts, ("alone", "rows")
            yield groups, parts, ("alone", "channels")
