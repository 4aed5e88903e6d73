"""A network -> what is wrong with it, before anybody plans from it: the file that it was read from may say anything.

An operator is judged by the rules of `nas.check` about single commands, as the one command that would do it for one image.
What is left are rules about names (everything is made once, before it is read) and about views and concats, which are no
commands.
"""

import math
from collections.abc import Iterator

from nas.check.command import command_breaches
from nas.check.formats import format_breach
from nas.compiler.network import Network, is_reserved
from nas.compiler.regions import image_of, place
from nas.compiler.tiling import engine_of, image_operands
from nas.compiler.views import view_boxes
from nas.ir.command import Command, Host, Pool
from nas.ir.program import Concat, Operator, View
from nas.ir.tensor import Tensor

# Whatever is larger would be planned tile by tile and image by image for hours, and fits no memory.
_MOST_IMAGES = 1 << 16
_MOST_BYTES = 1 << 36


def network_breach(network: Network) -> tuple[str, str]:
    """(where, what is wrong) of the first thing that is, such as ("operators[3] (conv1)", "..."); ("", "") if all is well."""
    return next(_breaches(network), ("", ""))


def _breaches(network: Network) -> Iterator[tuple[str, str]]:
    for name, tensor in network.tensors.items():
        if wrong := _tensor_breach(tensor):
            yield f"tensors {name}", wrong
        if is_reserved(name):
            yield f"tensors {name}", "expected a name that no memory and no buffer has"
    yield from _unknown_names(network)
    yield from _wrong_roles(network)
    made = {name for name, tensor in network.tensors.items() if tensor.role in ("constant", "input")}
    for index, operator in enumerate(network.operators):
        where = f"operators[{index}] ({operator.layer})"
        for name in operator.inputs:
            if name not in made:
                yield where, f"reads {name!r}, which nothing has made before it"
        for name in operator.outputs:
            if name in made:
                yield where, f"makes {name!r}, which is there already"
            made.add(name)
        if wrong := _operator_breach(operator, network):
            yield where, wrong
    for name in network.outputs:
        if name not in made:
            yield "outputs", f"nothing makes {name!r}"


def _unknown_names(network: Network) -> Iterator[tuple[str, str]]:
    operators = ((f"operators ({each.layer})", (*each.inputs, *each.outputs)) for each in network.operators)
    for where, names in (("inputs", network.inputs), ("outputs", network.outputs), *operators):
        for name in names:
            if name not in network.tensors:
                yield where, f"no tensor has the name {name!r}"


def _wrong_roles(network: Network) -> Iterator[tuple[str, str]]:
    for role, names in (("input", network.inputs), ("output", network.outputs)):
        expected = [name for name, tensor in network.tensors.items() if tensor.role == role]
        if sorted(names) != sorted(expected):
            yield f"{role}s", f"expected the tensors of that role, each once, {expected[:5]}, got {list(names)[:5]}"


def _tensor_breach(tensor: Tensor) -> str:
    if not tensor.shape or min(tensor.shape) < 1:
        return f"expected sizes of 1 or more, got shape {tensor.shape}"
    if math.prod(tensor.shape) > _MOST_BYTES or (tensor.role != "constant" and tensor.shape[0] > _MOST_IMAGES):
        return f"expected {_MOST_IMAGES} images and {_MOST_BYTES} elements at most, got shape {tensor.shape}"
    return format_breach(tensor.format)


def _operator_breach(operator: Operator, network: Network) -> str:
    tensors, function = network.tensors, operator.function
    read, made = ([tensors[name] for name in names] for names in (operator.inputs, operator.outputs))
    if isinstance(function, Host):
        sources, targets = (tuple(place(tensor, "dram", 0) for tensor in each) for each in (read, made))
        return _command_breach(Command("host", operator.layer, sources, targets, function))
    if len(made) != 1 or not read:
        return f"expected one output and an input at least, got {len(made)} and {len(read)}"
    flowing = [tensor for tensor in (read[0], *read, made[0]) if tensor.role != "constant"]
    if read[0].role == "constant" or len({tensor.shape[0] for tensor in flowing}) > 1:
        return f"expected as many images of all that is no constant, got {[tensor.shape for tensor in flowing]}"
    if isinstance(function, View):
        return _view_breach(function, read, made[0])
    if isinstance(function, Concat):
        return _concat_breach(read, made[0])
    output = function.output if isinstance(function, Pool) else function.tail.output
    if (function.input, output) != (read[0].format, made[0].format):
        return f"expected the formats of its tensors, {read[0].format} and {made[0].format}"
    whole = [place(tensor, "sram", 0) for tensor in read]
    reads, write = image_operands(operator, tensors, whole, place(made[0], "sram", 0))[0]
    return _command_breach(Command(engine_of(function), operator.layer, reads, (write,), function))


def _command_breach(command: Command) -> str:
    return next((f"{message} [{rule}]" for _, rule, message in command_breaches([command])), "")


def _view_breach(view: View, read: list[Tensor], made: Tensor) -> str:
    if len(read) != 1 or read[0].format != made.format:
        return "expected one input, in the format of the output"
    sizes = read[0].shape[1:]
    if math.prod(view.split) != math.prod(sizes) or min(view.split, default=1) < 1:
        return f"expected a split of {sizes}, got {view.split}"
    if sorted(view.order) != list(range(len(view.split))):
        return f"expected an order of {len(view.split)} axes, got {view.order}"
    kept = [view.split[axis] for axis in view.order]
    if view.stop:
        if not kept or not 0 <= view.start < view.stop <= kept[0]:
            return f"expected a part of {kept[:1]}, got {view.start}:{view.stop}"
        kept[0] = view.stop - view.start
    if math.prod(kept) != math.prod(made.shape[1:]):
        return f"expected {math.prod(kept)} elements of an image, got shape {made.shape}"
    source, target = (image_of(place(tensor, "sram", 0), 0) for tensor in (read[0], made))
    if view_boxes(view, source, target) is None:
        return f"expected axes that split or join as wholes, got {read[0].shape} to {made.shape}"
    return ""


def _concat_breach(read: list[Tensor], made: Tensor) -> str:
    shapes = [tensor.shape for tensor in (*read, made)]
    if any(tensor.format != made.format for tensor in read):
        return "expected inputs in the format of the output"
    if min(map(len, shapes)) < 2 or len({(shape[0], *shape[2:]) for shape in shapes}) > 1:
        return f"expected shapes that differ in their channels alone, got {shapes}"
    if sum(shape[1] for shape in shapes[:-1]) != made.shape[1]:
        return f"expected {made.shape[1]} channels in all, got {shapes[:-1]}"
    return ""
