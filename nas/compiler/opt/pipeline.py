"""cmds.json -> cmds-o.json: the passes in order, then plans, commands, addresses, and a program again.

rewrite   operators -> other operators that compute the same: fused, joined, in parts, in another order
engines   a tile of work -> how the engines do it: in which dataflow, laid out how, shared in which way
layout    operators -> where the bytes of their tensors lie, and what follows: operands, lives, what is handed on
plan      a layout -> what lives on chip, what passes through it in stripes or slices, how each operator is cut
emit      a plan -> commands on named buffers
memory    commands on named buffers -> addresses for these, and the order in which the commands come
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.compiler.legal import network_breach
from nas.compiler.memo import Memo
from nas.compiler.network import Network, tensor_bytes
from nas.compiler.opt.draft import Draft, Planned, draft_of, finished, shared_anew
from nas.compiler.opt.engines.select import SelectDataflow, array_dataflows
from nas.compiler.opt.memory.dram import refuse_what_never_fits
from nas.compiler.opt.plan.settle import Layouts, Settled, settle
from nas.compiler.opt.plan.stored import is_worth_a_plan
from nas.compiler.opt.rewrite.apart import Apart
from nas.compiler.opt.rewrite.bands import Bands
from nas.compiler.opt.rewrite.branches import JoinBranches
from nas.compiler.opt.rewrite.early import Early
from nas.compiler.opt.rewrite.fuse import Fuse
from nas.compiler.opt.rewrite.recompute import Recompute
from nas.compiler.opt.rewrite.reorder import Reorder
from nas.compiler.opt.rewrite.shallow import Shallow
from nas.compiler.opt.rewrite.sink import SinkViews
from nas.compiler.opt.rewrite.tidy import CodedInputs, DropDead
from nas.compiler.parts.fit import FIT
from nas.compiler.passes import Pass, run_passes
from nas.core.errors import DoesNotFit, InputError, Violation, suggestion
from nas.hw.spec import Processor
from nas.ir.program import Program
from nas.timing.matrix import ARRAY_DATAFLOWS

PASSES: tuple[Pass, ...] = (
    SinkViews(),
    CodedInputs(),
    Fuse(),
    DropDead(),
    JoinBranches(),
    Bands(),
    *FIT,
    SelectDataflow(),
)
# Kept only where they make the program quicker; those of CUTS do operators in parts, those of ORDERS change their order.
CUTS: tuple[Pass, ...] = (Shallow(), Apart())
ORDERS: tuple[Pass, ...] = (Reorder(), Recompute(), Early())
# The switches of what happens after the passes.
PLANNING = (
    *ARRAY_DATAFLOWS,
    *(step.name for step in (*CUTS, *ORDERS)),
    "in_place",
    "spread",
    "residency",
    "stripes",
    "slices",
    "store_through",
    "sharing",
    "coalesce",
    "prefetch",
    "ahead",
    "compact",
    "colour",
)
SWITCHES = (*(step.name for step in PASSES), *PLANNING)

# The shares of the sram that planning may fill: buffers of odd sizes rarely pack without gaps, so a plan that doesn't pack
# is made again with less: a little, which may leave no room for what saves most, and more.
_FILLS = ((1.0,), (0.97, 0.94), (0.9, 0.8, 0.65, 0.5))
# What to do without where nothing fits: it saves time and takes room.
_ROOMY = frozenset({"stripes", "coalesce"})


def check_switches(names: Iterable[str]) -> frozenset[str]:
    """The passes to leave out, by name, or the only one; an unknown one is an `InputError`."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in SWITCHES:
            raise InputError("without", "", "a pass", repr(name), suggestion(name, SWITCHES))
    return frozenset(names)


def network_of_program(program: Program, constants: Mapping[str, NDArray[np.generic]], where: object) -> Network:
    """The operators of a program, ready for passes. InputError where `constants` (of `where`) don't fit the program."""
    tensors = {tensor.name: tensor for tensor in program.tensors}
    network = Network(
        program.name,
        program.operators,
        tensors,
        tuple(binding.name for binding in program.inputs),
        tuple(binding.name for binding in program.outputs),
        {name: array.astype(np.uint8, copy=False) for name, array in constants.items()},
    )
    place, wrong = network_breach(network)
    if wrong or len(tensors) < len(program.tensors):
        raise InputError(where, place or "tensors", "a network that can be compiled", wrong or "two of one name")
    for binding in program.constants:
        stored, tensor = constants.get(binding.name), tensors.get(binding.name)
        if tensor is None:
            raise InputError(where, "constants", "a tensor of that name", repr(binding.name))
        if stored is None or stored.dtype != np.uint8 or stored.size != tensor_bytes(tensor):
            got = "nothing" if stored is None else f"{stored.size} of {stored.dtype}"
            raise InputError(where, f"weights {binding.name}", f"{tensor_bytes(tensor)} bytes", got)
    return network


def optimise(
    network: Network,
    processor: Processor,
    switched_off: frozenset[str] = frozenset(),
    memo: Memo | None = None,
) -> Planned:
    """The optimised program and the bytes of its constants. Raises `DoesNotFit` where the sram is too small.

    Where operators may be better in parts, all ways are planned; so are, for the one whose program simulates fastest, other orders,
    and one with some of the operators done twice; and for the fastest of these, if it moves maps above all, plans in which maps pass
    in stripes that others read later, too. The fastest program of all is taken; where its engines have to wait for each other more
    than they were expected to, their work is shared out anew.

    memo: of the networks before, to be quicker with what this one has in common with them; the result is the same.
    """
    memo = Memo() if memo is None else memo
    network = run_passes(passes_with(switched_off), network, processor, switched_off)
    refuse_what_never_fits(network, processor)
    fastest = _Fastest(processor, switched_off, memo)
    cut = _ways([network], CUTS, processor, switched_off)
    fastest.of(cut)
    in_order = fastest.draft
    if in_order is not None:
        cut = [fastest.network]
    fastest.of(_ways(cut, ORDERS, processor, switched_off)[len(cut) :])
    if fastest.draft is None:
        raise fastest.misfits[0]
    programs = [each.program for each in (fastest.draft, in_order) if each is not None]
    if "store_through" not in switched_off and any(map(is_worth_a_plan, programs)):
        fastest.of([fastest.network, *(each for each in cut if each is not fastest.network)], storing=True)
    fastest.share_anew()
    return finished(fastest.draft, processor, switched_off, memo)


class _Fastest:
    """The fastest program so far of those that were tried, and of which network it is; misfits: why others have none."""

    def __init__(self, processor: Processor, switched_off: frozenset[str], memo: Memo) -> None:
        self._processor, self._switched_off, self._memo = processor, switched_off, memo
        self._cycles = 0
        self.draft: Draft | None = None
        self.network: Network
        self.misfits: list[DoesNotFit] = []

    def of(self, networks: Sequence[Network], storing: bool = False) -> None:
        """Try these, too; storing: see `settle`."""
        for network in networks:
            try:
                drafts = _fitting(network, self._processor, self._switched_off, self._memo, storing)
            except DoesNotFit as misfit:
                self.misfits.append(misfit)
                continue
            for draft in drafts:
                self._try(draft, network)

    def share_anew(self) -> None:
        """Try the fastest plan with other shares, by what its simulation shows."""
        if self.draft is not None:
            other = shared_anew(self.draft, self._processor, self._memo)
            if other is not None and other.program.used_bytes["sram"] <= self._processor.sram.size_bytes:
                self._try(other, self.network)

    def _try(self, draft: Draft, network: Network) -> None:
        cycles = draft.cycles(self._processor, self._memo)
        if self.draft is None or cycles < self._cycles:
            self._cycles, self.draft, self.network = cycles, draft, network


def _ways(
    networks: list[Network], steps: Sequence[Pass], processor: Processor, switched_off: frozenset[str]
) -> list[Network]:
    """The networks as they are, and behind them what any of the steps make of them, one after the other."""
    ways = list(networks)
    for step in steps:
        ways += [other for each in ways if (other := run_passes([step], each, processor, switched_off)) is not each]
    return ways


def passes_with(switched_off: frozenset[str]) -> list[Pass]:
    """All passes, as they are where others are switched off: the choice of dataflows is among those that are on (the vector engine
    has but one), and nothing is left unfused for the sake of what is off.
    """
    select = SelectDataflow((*array_dataflows(switched_off), "lanes"))
    fuse = Fuse(in_blocks="spread" not in switched_off)
    chosen: dict[str, Pass] = {select.name: select, fuse.name: fuse}
    return [chosen.get(step.name, step) for step in PASSES]


def _fitting(
    network: Network,
    processor: Processor,
    switched_off: frozenset[str],
    memo: Memo,
    storing: bool,
) -> list[Draft]:
    """The programs of the operators in this order, at least one unless `storing`: see `settle`. Raises `DoesNotFit`."""
    misfit: Violation | None = None
    for without in (switched_off, switched_off | _ROOMY):
        layouts, fitting = Layouts(network, processor, without), list[Draft]()
        for fills in _FILLS:
            for plans in _plans(layouts, fills, processor, memo, storing):
                if not plans:
                    return fitting
                drafts = [draft_of(plan, processor, without, memo) for plan in plans]
                found = [_misfit(each, processor) for each in drafts]
                fitting += [each for each, wrong in zip(drafts, found, strict=True) if wrong is None]
                if found[0] is None:
                    break
                misfit = found[0]
                if misfit.what == "dram_bytes":
                    raise DoesNotFit(misfit)
            if fitting and fills is _FILLS[0]:
                break
        if fitting:
            return fitting
    assert misfit is not None  # the first plan is one, or there is none at all
    raise DoesNotFit(misfit)


def _plans(
    layouts: Layouts, fills: Sequence[float], processor: Processor, memo: Memo, storing: bool
) -> Iterator[list[Settled]]:
    """For each of these shares of the sram that is enough; raises `DoesNotFit` where all of it is not."""
    for fill in fills:
        try:
            plans = settle(layouts, int(processor.sram.size_bytes * fill), memo, storing)
        except DoesNotFit:
            if fill == 1.0:
                raise
        else:
            yield plans


def _misfit(draft: Draft, processor: Processor) -> Violation | None:
    """The memory that a program has too little of."""
    for memory, have_bytes, help_text in (
        ("dram", processor.dram.size_bytes, ""),
        ("sram", processor.sram.size_bytes, "more SRAM"),
    ):
        need_bytes = draft.program.used_bytes[memory]
        if need_bytes > have_bytes:
            return Violation(f"{memory}_bytes", draft.program.name, need_bytes, have_bytes, "bytes", help_text)
    return None
