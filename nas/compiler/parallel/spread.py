"""A network over the cores of a processor: partitions are tried, each is simulated, and the fastest is kept.

One core's program is always among them, so that more cores are never slower. One core may also do the images of a batch in turn:
what loads weights once for all of them keeps the maps of all, which may have no room.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import msgspec
import numpy as np
from numpy.typing import NDArray

from nas.compiler.memo import Memo
from nas.compiler.network import Network, unused_name
from nas.compiler.opt.pipeline import ORDERS, PASSES, optimise, passes_with
from nas.compiler.parallel.candidates import candidates, core_counts, image_count
from nas.compiler.parallel.join import CoreProgram, Joint, join
from nas.compiler.parallel.order import list_schedule
from nas.compiler.parallel.partition import Partition, Stretch, pieces_of
from nas.compiler.parallel.piece import CannotCut, core_network
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.parallel.trial import tried
from nas.compiler.passes import run_passes
from nas.core.errors import DoesNotFit
from nas.hw.spec import Processor
from nas.ir.par_program import ParProgram
from nas.ir.program import Program
from nas.sim.parallel import simulate_parallel
from nas.sim.trace import Trace

Packed = Mapping[str, NDArray[np.uint8]]
ONE_CORE, _IN_TURN = "one core", "images in turn"
# Done to the whole network before it is cut; dataflows are chosen anew for what each core makes. The pieces of a core stay
# in their order, in which no two cores wait for each other.
_DONE_BEFORE = frozenset(step.name for step in (*PASSES, *ORDERS)) - {"select"}
# What is slower by so much by the estimate of list scheduling is not simulated: that takes longer than all the rest, and over
# 37 programs of four networks the estimate was 0.98 to 1.02 of what was simulated, but for slow ones that it takes for slower.
_HOPELESS = 1.25
# Of the fastest partition the commands are ordered anew, with less and more passing of what waits; see `order`.
_WINDOWS = (4, 16, 64)
# Images in turn are not planned where they would be more operators than that, or where one image takes more than its share of the
# time: where one ends and the next begins a few per cent overlap.
_LONGEST_TURNS, _SLACK_OF_TURNS = 4096, 1.05


@dataclass(frozen=True)
class Spread:
    """The parallel program of the fastest partition.

    sequence: its commands, of all cores, in one legal order; constants: their bytes; trace: how it was simulated. cycles:
    by the partition that was simulated (none where there was no choice); `partition` is the one that was kept.
    """

    partition: str
    sequence: Program
    parallel: ParProgram
    constants: Packed
    trace: Trace
    cycles: Mapping[str, int]

    @property
    def is_partitioned(self) -> bool:
        """Whether it is not the program that was given: several cores share the work, or the images come in turn."""
        return self.partition != ONE_CORE

    @property
    def one_core_cycles(self) -> int:
        """Of the faster of the two ways in which one core does it."""
        ways = (cycles for name, cycles in self.cycles.items() if name == ONE_CORE or name.endswith(_IN_TURN))
        return min(ways, default=self.trace.cycles)


def spread(
    network: Network,
    processor: Processor,
    one_core: tuple[Program, Packed],
    switched_off: frozenset[str] = frozenset(),
    memo: Memo | None = None,
) -> Spread:
    """`network` over the cores of `processor`, given the program (and its constants) of one of them; memo: as of `optimise`."""
    memo = Memo() if memo is None else memo
    parallel, trace = tried(one_core[0], processor, memo)
    alone = Spread(ONE_CORE, one_core[0], parallel, one_core[1], trace, {ONE_CORE: trace.cycles})
    images = image_count(network)
    if processor.cores == 1 and images == 1:
        return replace(alone, cycles={})
    traced = run_passes(passes_with(switched_off), network, processor, switched_off)
    planner = _Planner(processor, switched_off, memo)
    in_turn = _in_turn(traced, images, planner, trace.cycles)
    alone = alone if in_turn is None else _faster(alone, in_turn)
    if processor.cores == 1:
        return alone if in_turn is not None else replace(alone, cycles={})
    found: list[Spread] = []
    for order in _orders(traced, one_core[0]):
        # The most first: against them few of the others need be simulated.
        for count in reversed(core_counts(processor.cores)):
            known = reduce(_faster, found, alone)
            each = _fastest_over(count, order, planner, known)
            found = found if each is None else [each, *found]
    return reduce(_faster, found, alone)


def _in_turn(network: Network, images: int, planner: "_Planner", cycles: int) -> Spread | None:
    """One core does the images one after the other; None where that can't be, or takes longer than `cycles` by what one image takes."""
    if images == 1 or images * len(network.operators) > _LONGEST_TURNS:
        return None
    partition = Partition(f"{images} {_IN_TURN}", (Stretch(0, len(network.operators), "stage"),), 1, 1, images)
    try:
        one_image = planner.program(core_network(network, pieces_of(network, partition)[:1]).network)
        if images * tried(one_image[0], planner.processor, planner.memo).trace.cycles > _SLACK_OF_TURNS * cycles:
            return None
        joint = join(network, planner.cores(network, partition), planner.processor)
    except (CannotCut, DoesNotFit):
        return None
    return _simulated(partition.name, (joint.program, joint.packed), planner.processor)


def _orders(network: Network, program: Program) -> list[Network]:
    """The network as it is, and with its operators in the order in which one core does them, where that is another: what is
    better for one core need not be for several, of which each has less to keep on chip.
    """
    places = {name: place for place, operator in enumerate(program.operators) for name in operator.outputs}
    if not all(name in places for operator in network.operators for name in operator.outputs):
        return [network]
    operators = tuple(sorted(network.operators, key=lambda each: max(places[name] for name in each.outputs)))
    made: set[str] = set()
    for operator in operators:
        # What one core made again of a copy can come before what it was made of at first.
        if any(name in places and name not in made for name in operator.inputs):
            return [network]
        made.update(operator.outputs)
    return [network] if operators == network.operators else [network, replace(network, operators=operators)]


def _fastest_over(count: int, network: Network, planner: "_Planner", known: Spread) -> Spread | None:
    """The fastest over exactly `count` cores of those that may be faster than what is known; None where none may."""
    best: Spread | None = None
    kept: Joint | None = None
    for partition in candidates(network, planner.processor, count):
        try:
            joint = join(network, planner.cores(network, partition), planner.processor)
        except (CannotCut, DoesNotFit):
            continue
        name = unused_name(partition.name, {**known.cycles, **(best.cycles if best else {})})
        found = _promising(name, joint, None, best or known, planner.processor)
        if found is not None and (best is None or found.trace.cycles < best.trace.cycles):
            kept = joint
        best = best if found is None else found if best is None else _faster(best, found)
    if best is not None and kept is not None:
        for window in _WINDOWS:
            found = _promising(best.partition, kept, window, best, planner.processor)
            best = best if found is None else _faster(best, found)
    return best


def _promising(name: str, joint: Joint, window: int | None, rival: Spread, processor: Processor) -> Spread | None:
    """The program as it was simulated; None where it is too slow by estimate."""
    schedule = list_schedule(joint.jobs, processor, window)
    if schedule.cycles > _HOPELESS * rival.trace.cycles:
        return None
    return _simulated(name, joint.in_order(schedule), processor)


def _simulated(name: str, joined: tuple[Program, Packed], processor: Processor) -> Spread:
    sequence, constants = joined
    par = parallelise(sequence)
    trace = simulate_parallel(par, processor)
    return Spread(name, sequence, par, constants, trace, {name: trace.cycles})


def _faster(one: Spread, other: Spread) -> Spread:
    """The faster of two, the first of equals, with what is known of both."""
    kept = other if other.trace.cycles < one.trace.cycles else one
    return replace(kept, cycles={**one.cycles, **other.cycles, kept.partition: kept.trace.cycles})


def partitioned(
    network: Network, partition: Partition, processor: Processor, switched_off: frozenset[str] = frozenset()
) -> tuple[Program, Packed]:
    """The program of a network (behind its passes) on several cores. Raises `CannotCut` and `DoesNotFit`."""
    cores = _Planner(processor, switched_off, Memo()).cores(network, partition)
    joint = join(network, cores, processor)
    return joint.in_order(list_schedule(joint.jobs, processor))


@dataclass(frozen=True)
class _Planner:
    """What each core does, planned by the optimiser within its own memory; partitions have most of their pieces in common."""

    processor: Processor
    switched_off: frozenset[str]
    memo: Memo

    def cores(self, network: Network, partition: Partition) -> list[CoreProgram]:
        """The programs of the cores. Raises `CannotCut` and `DoesNotFit`."""
        pieces = pieces_of(network, partition)
        cores: list[CoreProgram] = []
        known: dict[bytes, tuple[Program, Packed]] = {}
        for core in sorted({piece.core for piece in pieces}):
            mine = core_network(network, [piece for piece in pieces if piece.core == core])
            key = _key(mine.network)
            if key not in known:
                known[key] = self.program(mine.network)
            cores.append(CoreProgram(core, *known[key], mine.shared))
        return cores

    def program(self, network: Network) -> tuple[Program, Packed]:
        """The program of what one core does. Raises `DoesNotFit`."""
        return optimise(network, self.processor, self.switched_off | _DONE_BEFORE, self.memo)


def _key(network: Network) -> bytes:
    """The same for networks that are planned alike. Constants go by their names, which say what part of which they are."""
    parts = (network.operators, tuple(network.tensors.values()), network.inputs, network.outputs)
    return msgspec.msgpack.encode(parts)
