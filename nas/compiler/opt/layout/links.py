"""The maps that one operator hands to the next, so that both can be done in stripes."""

from nas.compiler.network import Network
from nas.compiler.opt.layout.storage import COMPUTES, Storage
from nas.compiler.regions import MAP_RANK
from nas.ir.command import Conv
from nas.ir.program import Operator


def links(network: Network, storage: Storage) -> frozenset[str]:
    """The maps that one operator hands to the next and to nobody else."""
    return frozenset(
        operator.outputs[0]
        for index, operator in enumerate(network.operators[:-1])
        if _hands_on(network, storage, index)
    )


def _hands_on(network: Network, storage: Storage, index: int) -> bool:
    here, following = network.operators[index], network.operators[index + 1]
    if not (isinstance(here.function, COMPUTES) and isinstance(following.function, COMPUTES)) or len(here.outputs) != 1:
        return False
    name = here.outputs[0]
    region = storage.regions[name]
    owns_buffer = region.memory == name and len(region.shape) == MAP_RANK + 1
    can_pass = owns_buffer and not storage.buffers[name].in_dram
    return can_pass and network.users.get(name) == [index + 1] and is_read_by_rows(network, following, name)


def is_read_by_rows(network: Network, reader: Operator, name: str) -> bool:
    """Whether the rows of a result need rows of `name`: it is the data, or the map that is added or multiplied in the end."""
    if reader.inputs[0] == name:
        return True
    is_pooled = isinstance(reader.function, Conv) and reader.function.tail.pool is not None
    return not is_pooled and network.tensors[name].shape[2:] == network.tensors[reader.outputs[0]].shape[2:]
