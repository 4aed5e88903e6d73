"""A piece: a stretch of a network's operators and what one core is to make of their results -> operators for that core.

Going backwards from the goals, each operator gets the part of its result that somebody in the piece needs, halo included:
what two cores both need of a tensor within their pieces each makes for itself. What a piece reads from outside, and its
goals, lie in the dram, which all cores share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from nas.compiler.network import Bytes, Network
from nas.compiler.parallel.box import Box, box_shape, hull, whole_box, with_axis
from nas.compiler.parallel.cut import CHANNELS, IMAGES, ROWS, Cut, cut, slice_constant
from nas.compiler.regions import MAP_RANK, place
from nas.ir.program import Operator, View
from nas.ir.tensor import Region, Tensor


@dataclass(frozen=True)
class Piece:
    """core: that makes the `goals` (tensor -> part of it), all results of the operators first..last - 1."""

    core: int
    first: int
    last: int
    goals: Mapping[str, Box]


@dataclass(frozen=True)
class CoreNetwork:
    """What one core computes, and which part of which tensor of the whole network its inputs and outputs are."""

    network: Network
    shared: Mapping[str, tuple[str, Box]]


class CannotCut(Exception):
    """The operators of a piece can't be cut in this way."""


def cuts_of(network: Network, piece: Piece) -> dict[int, Cut]:
    """How the operators of a piece are cut; those that nobody in it needs are left out."""
    needed: dict[str, Box] = dict(piece.goals)
    cuts: dict[int, Cut] = {}
    for index in range(piece.last - 1, piece.first - 1, -1):
        operator = network.operators[index]
        wanted = [name for name in operator.outputs if name in needed]
        if not wanted:
            continue
        box = needed[operator.outputs[0]] if len(operator.outputs) == 1 else whole_box(network.tensors[wanted[0]].shape)
        cuts[index] = made = cut(operator, network, box)
        for name, need in zip(operator.inputs, made.needs, strict=True):
            if not isinstance(need, Region):
                needed[name] = hull(needed.get(name), need)
    return cuts


def core_network(network: Network, pieces: Sequence[Piece]) -> CoreNetwork:
    """The pieces of one core, one after the other, as a network of its own. Raises `CannotCut`."""
    making = _Making(network)
    for number, piece in enumerate(pieces):
        making.piece(f"@{number}", piece)
    return CoreNetwork(
        Network(
            network.name,
            tuple(making.operators),
            making.tensors,
            tuple(making.inputs),
            tuple(making.outputs),
            making.constants,
        ),
        making.shared,
    )


@dataclass
class _Making:
    source: Network
    operators: list[Operator] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    constants: dict[str, Bytes] = field(default_factory=dict)
    shared: dict[str, tuple[str, Box]] = field(default_factory=dict)

    def piece(self, mark: str, piece: Piece) -> None:
        """Append the operators of a piece; `mark` makes its names its own."""
        cuts = cuts_of(self.source, piece)
        # Of each tensor that is made here: the part, and who reads it here.
        made: dict[str, Box] = {}
        read: set[str] = set()
        for index, each in cuts.items():
            operator = self.source.operators[index]
            made[operator.outputs[0]] = each.made
            made.update({name: whole_box(self.source.tensors[name].shape) for name in operator.outputs[1:]})
            read.update(operator.inputs)
        for index in sorted(cuts):
            operator, each = self.source.operators[index], cuts[index]
            inputs = tuple(
                self._input(name, need, made, mark) for name, need in zip(operator.inputs, each.needs, strict=True)
            )
            outputs = tuple(self._result(name, made[name], piece, read, mark) for name in operator.outputs)
            self.operators.append(Operator(operator.layer, each.function, inputs, outputs))
            for name, goal in piece.goals.items():
                if name in operator.outputs and f"{name}{mark}" not in self.shared:
                    self._goal(operator.layer, name, goal, made[name], mark)

    def _input(self, name: str, need: Box | Region, made: dict[str, Box], mark: str) -> str:
        if isinstance(need, Region):
            return self._constant(name, need)
        if name in made:
            return self._part(f"{name}{mark}", made[name], need)
        # Numbered, not named by place: cores that do the same on other parts have the very same network.
        count = 0
        while self.shared.get(own := f"{name} part {count}{mark}", (name, need)) != (name, need):
            count += 1
        if own not in self.tensors:
            self._tensor(own, name, need, "input")
            self.inputs.append(own)
            self.shared[own] = (name, need)
        return own

    def _result(self, name: str, box: Box, piece: Piece, read: set[str], mark: str) -> str:
        own = f"{name}{mark}"
        # What is read again here stays on chip and is stored besides.
        is_goal = piece.goals.get(name) == box and name not in read
        self._tensor(own, name, box, "output" if is_goal else "feature")
        if is_goal:
            self.outputs.append(own)
            self.shared[own] = (name, box)
        return own

    def _goal(self, layer: str, name: str, goal: Box, box: Box, mark: str) -> None:
        """Hand over the part of a result that others need, which is more than that or needed here as well."""
        source, own = f"{name}{mark}", f"{name}{mark} shared"
        if goal != box:
            source = self._part(source, box, goal)
        self._tensor(own, name, goal, "output")
        axes = tuple(range(len(goal) - 1))
        self.operators.append(Operator(layer, View(box_shape(goal)[1:], axes), (source,), (own,)))
        self.outputs.append(own)
        self.shared[own] = (name, goal)

    def _part(self, own: str, box: Box, need: Box) -> str:
        """A part of a tensor that lies in this core's memory, by views that cost nothing."""
        if need == box:
            return own
        if need[IMAGES] != box[IMAGES]:
            raise CannotCut(f"{own}: images {need[IMAGES]} of {box[IMAGES]}")
        layer = self.operators[-1].layer if self.operators else ""
        if need[CHANNELS] != box[CHANNELS]:
            part = with_axis(box, CHANNELS, need[CHANNELS])
            axes = tuple(range(len(box) - 1))
            own, box = self._view(layer, own, part, box_shape(box)[1:], axes, _within(need, box, CHANNELS)), part
        if need != box:
            if len(box) != MAP_RANK + 1 or with_axis(box, ROWS, need[ROWS]) != need:
                raise CannotCut(f"{own}: {need} of {box}")
            channels, rows, columns = box_shape(box)[1:]
            turned = (box[IMAGES], (0, need[ROWS][1] - need[ROWS][0]), (0, channels), (0, columns))
            cut_name = self._view(layer, own, turned, (channels, rows, columns), (1, 0, 2), _within(need, box, ROWS))
            own = self._view(layer, cut_name, need, box_shape(turned)[1:], (1, 0, 2), (0, 0))
        return own

    def _view(
        self, layer: str, source: str, box: Box, split: tuple[int, ...], order: tuple[int, ...], bounds: tuple[int, int]
    ) -> str:
        own = f"{source} {bounds[0]} {'x'.join(map(str, box_shape(box)))}"
        if own not in self.tensors:
            self.tensors[own] = msgspec.structs.replace(
                self.tensors[source], name=own, shape=box_shape(box), role="feature"
            )
            self.operators.append(Operator(layer, View(split, order, *bounds), (source,), (own,)))
        return own

    def _tensor(self, own: str, name: str, box: Box, role: str) -> None:
        source = self.source.tensors[name]
        self.tensors[own] = msgspec.structs.replace(source, name=own, shape=box_shape(box), role=role)

    def _constant(self, name: str, part: Region) -> str:
        tensor = self.source.tensors[name]
        if part == place(tensor, name, 0):
            own = name
        else:
            own = f"{name}[{part.offset_bytes}:{'x'.join(map(str, part.shape))}]"
        if own in self.tensors:
            return own
        stored = self.source.constants.get(name)
        self.tensors[own] = msgspec.structs.replace(tensor, name=own, shape=part.shape)
        if stored is not None:
            self.constants[own] = stored if own == name else slice_constant(stored, tensor, part)
        return own


def _within(need: Box, box: Box, axis: int) -> tuple[int, int]:
    """The range of `need` along an axis, counted from where `box` begins."""
    return need[axis][0] - box[axis][0], need[axis][1] - box[axis][0]
