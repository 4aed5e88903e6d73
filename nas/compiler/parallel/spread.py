"""A network over the cores of a processor: partitions are tried, each is simulated, and the fastest is kept.

One core's program is always among them, so that more cores are never slower.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.compiler.network import Network, unused_name
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.parallel.choose import choose_stretches
from nas.compiler.parallel.join import CoreProgram, join
from nas.compiler.parallel.partition import Partition, Stretch, Way, pieces_of
from nas.compiler.parallel.piece import CannotCut, core_network
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.parallel.stages import choose_stages
from nas.compiler.passes import run_passes
from nas.core.errors import DoesNotFit
from nas.hw.spec import Processor
from nas.ir.par_program import ParProgram
from nas.ir.program import Program
from nas.sim.parallel import simulate_parallel

Packed = Mapping[str, NDArray[np.uint8]]
ONE_CORE = "one core"
# Done to the whole network before it is cut; dataflows are chosen anew for what each core makes.
_DONE_BEFORE = frozenset(step.name for step in PASSES) - {"select"}
# So many partitions are planned and simulated, the best by estimate.
_MOST_TRIED = 10


@dataclass(frozen=True)
class Spread:
    """The parallel program of the fastest partition.

    sequence: its commands, of all cores, in one legal order; constants: their bytes. cycles: simulated, by the partition
    that was tried; `partition` is the one that was kept.
    """

    partition: str
    sequence: Program
    parallel: ParProgram
    constants: Packed
    cycles: Mapping[str, int]

    @property
    def is_partitioned(self) -> bool:
        """Whether several cores share the work."""
        return self.partition != ONE_CORE


def spread(
    network: Network,
    processor: Processor,
    one_core: tuple[Program, Packed],
    switched_off: frozenset[str] = frozenset(),
) -> Spread:
    """`network` over the cores of `processor`, given the program (and its constants) of one of them."""
    program, packed = one_core
    par = parallelise(program)
    if processor.cores == 1:
        return Spread(ONE_CORE, program, par, packed, {})
    cycles = {ONE_CORE: simulate_parallel(par, processor).cycles}
    best = (ONE_CORE, program, par, packed)
    passed = run_passes(PASSES, network, processor, switched_off)
    for partition in candidates(passed, processor):
        try:
            sequence, constants = partitioned(passed, partition, processor, switched_off)
        except (CannotCut, DoesNotFit):
            continue
        par = parallelise(sequence)
        name = unused_name(partition.name, cycles)
        cycles[name] = simulate_parallel(par, processor).cycles
        if cycles[name] < cycles[best[0]]:
            best = (name, sequence, par, constants)
    return Spread(*best, cycles)


def partitioned(
    network: Network, partition: Partition, processor: Processor, switched_off: frozenset[str] = frozenset()
) -> tuple[Program, Packed]:
    """The program of a network (behind its passes) on several cores. Raises `CannotCut` and `DoesNotFit`."""
    pieces = pieces_of(network, partition)
    cores: list[CoreProgram] = []
    planned: dict[bytes, tuple[Program, Packed]] = {}
    for core in sorted({piece.core for piece in pieces}):
        mine = core_network(network, [piece for piece in pieces if piece.core == core])
        key = _key(mine.network)
        if key not in planned:
            planned[key] = optimise(mine.network, processor, switched_off | _DONE_BEFORE)
        cores.append(CoreProgram(core, *planned[key], mine.shared))
    return join(network, cores, processor)


def _key(network: Network) -> bytes:
    """The same for networks that are planned alike. Constants go by their names, which say what part of which they are."""
    parts = (network.operators, tuple(network.tensors.values()), network.inputs, network.outputs)
    return msgspec.msgpack.encode(parts)


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
            if groups == 1 and count == cores:
                yield groups, parts, ("alone", "rows")
                yield groups, parts, ("alone", "channels")
