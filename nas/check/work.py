"""Rules: inputs and outputs are those of the network; what a command computes is what an operator of its layer computes.

A program that tells no operators, or none of a layer, is not asked.
"""

from collections.abc import Iterator

from nas.check.rule import Place
from nas.check.subject import Subject
from nas.ir.command import Copy, Load, Store
from nas.ir.tensor import Format


def operator(subject: Subject) -> Iterator[Place]:
    """Every command that computes does the work of an operator of its layer."""
    for index, command in enumerate(subject.commands):
        if isinstance(command.attributes, Load | Store | Copy) or not subject.expected.knows(command.layer):
            continue
        if not subject.expected.ways(command):
            yield subject.place(index), f"no operator of the layer does this {command.op}: {command.attributes}"


def tensors(subject: Subject) -> Iterator[Place]:
    """The bound inputs and outputs are the network's, each once, in shape and format."""
    known = () if subject.network is None else subject.network.tensors
    if not known:
        return
    expected: dict[tuple[str, str], tuple[tuple[int, ...], Format]] = {}
    for tensor in known:
        if tensor.role in ("input", "output"):
            expected[tensor.role, tensor.name] = tensor.shape, tensor.format
    bound = {
        (part, each.name): (each.region.shape, each.format) for part, each in subject.bindings() if part != "constant"
    }
    for part, name in {**expected, **bound}:
        wanted, got = expected.get((part, name), "nothing"), bound.get((part, name), "nothing")
        if wanted != got:
            yield f"{part} {name}", f"expected the network's {wanted}, got {got}"
