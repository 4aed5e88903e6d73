"""Maps that pass in stripes and go to dram as well: the next operator reads them before they are all there, others read them later.

The next one would else read back from dram what has just gone there. A chain that goes on so makes all rows of such a map, each of
which is stored once.
"""

from itertools import pairwise

from nas.compiler.network import Network
from nas.compiler.opt.layout.links import is_read_by_rows
from nas.compiler.opt.layout.storage import COMPUTES, Storage
from nas.compiler.opt.plan.residency import Residency
from nas.compiler.regions import MAP_RANK
from nas.compiler.tiling import roles
from nas.ir.command import Conv, Load, Pool, Store
from nas.ir.program import Operator, Program


def is_worth_a_plan(program: Program) -> bool:
    """Whether maps are most of what the program moves, and one that goes to dram is read by the next operator, and by others later."""
    moved_bytes = sum(
        each.reads[0].payload_bytes for each in program.commands if type(each.attributes) in (Load, Store)
    )
    if 2 * sum(each.region.payload_bytes for each in program.constants) > moved_bytes:
        return False
    stored = {command.layer for command in program.commands if type(command.attributes) is Store}
    readers: dict[str, list[int]] = {}
    for index, operator in enumerate(program.operators):
        for name in operator.inputs:
            readers.setdefault(name, []).append(index)
    return any(
        operator.layer in stored and len(readers.get(operator.outputs[0], ())) > 1
        for operator in program.operators
        if isinstance(operator.function, COMPUTES)
    )


def read_later_too(network: Network, storage: Storage, residency: Residency) -> frozenset[str]:
    """The maps in dram that the next operator reads, all rows of them, and others later: it can read what is there already."""
    users = network.users
    found = []
    for index, (here, following) in enumerate(pairwise(network.operators)):
        name = here.outputs[0]
        if not isinstance(here.function, COMPUTES) or not isinstance(following.function, COMPUTES):
            continue
        region, is_first = storage.regions[name], users.get(name, [])[:1] == [index + 1]
        if region.memory in residency.on_chip or len(region.shape) <= MAP_RANK or len(here.outputs) > 1:
            continue
        by_rows = is_read_by_rows(network, following, name) and _reads_all_rows(network, following, name)
        if is_first and by_rows and following.inputs.count(name) == 1:
            found.append(name)
    return frozenset(found)


def are_stored_in_time(network: Network, first: int, last: int) -> bool:
    """Whether what the operators first..last make is read by those that don't follow at once row by row, from maps as tall: then a
    stripe of it is in dram when it is read.
    """
    made = {network.operators[index].outputs[0]: index for index in range(first, last)}
    for index in range(first + 2, last + 1):
        operator = network.operators[index]
        function = operator.function
        assert isinstance(function, COMPUTES)
        for name, role in zip(operator.inputs, roles(function), strict=True):
            if made.get(name, index) < index - 1:
                is_as_tall = network.tensors[name].shape[2:] == network.tensors[operator.outputs[0]].shape[2:]
                is_pooled = isinstance(function, Conv) and function.tail.pool is not None
                if role not in ("factor", "addend") or is_pooled or not is_as_tall:
                    return False
    return True


def _reads_all_rows(network: Network, reader: Operator, name: str) -> bool:
    """Whether every row of `name` is needed for some row of the result."""
    function = reader.function
    if reader.inputs[0] != name or not isinstance(function, Conv | Pool):
        return True
    size = network.tensors[name].shape[-2:]
    for window in (function.window, function.tail.pool if isinstance(function, Conv) else None):
        if window is not None:
            if not window.covers(*size)[0]:
                return False
            size = window.output_size(*size)
    return True
