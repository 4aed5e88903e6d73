"""A plan -> its program: commands with addresses, fast enough to tell plans apart, and the last touch for the one that is taken."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from nas.compiler.memo import Memo
from nas.compiler.network import constant_bytes
from nas.compiler.opt.emit.coalesce import coalesce
from nas.compiler.opt.emit.commands import Plan, emit
from nas.compiler.opt.emit.constants import ConstantPool
from nas.compiler.opt.memory.ahead import loaded_ahead
from nas.compiler.opt.memory.arrange import Arranged, arranged, coloured, compacted
from nas.compiler.opt.memory.dram import place_in_dram
from nas.compiler.opt.plan.pace import guessed_leads, seen_leads
from nas.compiler.opt.plan.settle import Settled
from nas.compiler.opt.plan.stripes import Groups
from nas.compiler.opt.plan.tile import transfer_bytes
from nas.compiler.parallel.trial import tried
from nas.hw.spec import Processor
from nas.ir.program import Program

Planned = tuple[Program, dict[str, NDArray[np.uint8]]]  # a program, and the bytes of its constants


class Draft(NamedTuple):
    """The program of a plan, with the bytes of its constants, and how its commands came to their addresses."""

    plan: Settled
    switched_off: frozenset[str]
    program: Program
    constants: dict[str, NDArray[np.uint8]]
    arranged: Arranged

    def cycles(self, processor: Processor, memo: Memo) -> int:
        """How long the program takes by a simulation."""
        return tried(self.program, processor, memo).trace.cycles


def shared_anew(draft: Draft, processor: Processor, memo: Memo) -> Draft | None:
    """Another program of the same plan, where engines had to wait for each other more than it was planned for; else None."""
    if "sharing" in draft.switched_off:
        return None
    layout, residency = draft.plan.layout, draft.plan.residency
    guessed = [lead for lead in guessed_leads(layout, residency.on_chip, processor, memo) if lead.can_share]
    leads = seen_leads(guessed, tried(draft.program, processor, memo).trace) if guessed else {}
    return draft_of(draft.plan, processor, draft.switched_off, memo, leads) if leads else None


def draft_of(
    plan: Settled,
    processor: Processor,
    switched_off: frozenset[str],
    memo: Memo,
    leads: Mapping[int, int] = MappingProxyType({}),
) -> Draft:
    """The commands of a plan, with addresses: as many bytes as they take, whether there are so many or not. leads: see `paces`."""
    layout, residency, groups, _ = plan
    network, storage = layout.network, layout.storage
    striped = Groups(groups)
    in_stripes = striped.passing(network)
    # Bytes of dram are shared only where there are too few: whoever writes to them again has to wait.
    for spans in (None, striped.spans(residency)):
        places, bindings, start_bytes = place_in_dram(network, storage, residency.on_chip | in_stripes, spans)
        if spans is None and start_bytes + constant_bytes(network) > processor.dram.size_bytes:
            continue
        pool = ConstantPool(network.constants, start_bytes)
        emitted = emit(
            Plan(layout, residency, groups, places, processor, "sharing" not in switched_off, leads), pool, memo
        )
        if pool.end_bytes <= processor.dram.size_bytes:
            break
    commands, buffer_bytes = emitted.commands, emitted.buffer_bytes
    if "coalesce" not in switched_off:
        commands, buffer_bytes = coalesce(commands, buffer_bytes, start_bytes, transfer_bytes(processor), processor)
    # Plans that differ may come to the same commands.
    found = memo.lately(arranged, commands, buffer_bytes, processor, switched_off)
    used_bytes = {"dram": pool.end_bytes, "sram": found.peak_bytes}
    program = network.optimised_program(processor, bindings, pool.bindings, found.placed(), used_bytes)
    return Draft(plan, switched_off, program, pool.packed, found)


def finished(draft: Draft, processor: Processor, switched_off: frozenset[str], memo: Memo) -> Planned:
    """The program of a draft, with earlier loads and better colours if these are quicker, and in little room.

    Trying these takes several simulations, and what they gain of a program is mostly less than plans differ by.
    """
    found = draft.arranged
    if not switched_off & {"ahead", "prefetch"}:
        found = loaded_ahead(found, processor, memo)
    found = compacted(found, processor, switched_off, memo)
    found = coloured(found, processor, switched_off, memo)
    if found is draft.arranged:
        return draft.program, draft.constants
    used_bytes = draft.program.used_bytes | {"sram": found.peak_bytes}
    return replace(draft.program, commands=found.placed(), used_bytes=used_bytes), draft.constants
