"""Which tensors share bytes: views and concats become other names for parts of a buffer, at no cost where that can be.

A buffer is a stretch of memory that is allocated as a whole; every tensor gets a region of one. A concat owns its buffer
and its inputs are written straight into their places; reshapes, slices and channel shuffles are strides. What strides cannot say of
a tensor that nobody else reads is written in that order straight away, and what neither they nor byte addresses can say becomes a move.
"""

from dataclasses import dataclass, field

from nas.compiler.network import Network, tensor_bytes
from nas.compiler.regions import image_of, permuted, reshaped, whole
from nas.compiler.tiling import roles
from nas.compiler.views import seen_through
from nas.core.errors import ContractError
from nas.ir.command import Conv, Eltwise, Host, Matmul, Pool
from nas.ir.program import Concat, Function, Operator, View
from nas.ir.tensor import Region, Tensor, box, container_bits

COMPUTES = Conv | Matmul | Eltwise | Pool


@dataclass(frozen=True)
class Buffer:
    """`in_dram`: it has to lie there (inputs, outputs, what the host touches)."""

    name: str
    size_bytes: int
    in_dram: bool


@dataclass
class Storage:
    """Where tensors lie. Regions have the buffer's name as memory, offsets from its start, and the batch axis first.

    moves: by the index of the operator (a view or a concat), the boxes to copy: (from, to). in_place: the results that lie where
    an operand did.
    """

    regions: dict[str, Region] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    moves: dict[int, list[tuple[Region, Region]]] = field(default_factory=dict)
    in_place: set[str] = field(default_factory=set)


def assign_storage(network: Network, in_place: bool = True, apart: frozenset[str] = frozenset()) -> Storage:
    """A region for every tensor but the constants.

    in_place: results are written over an operand that nobody reads again, where that can be done element by element; but
    for those of `apart`.
    """
    return _Assignment(network, in_place, apart).storage


class _Assignment:
    def __init__(self, network: Network, in_place: bool, apart: frozenset[str]) -> None:
        self.network, self.in_place, self.apart = network, in_place, apart
        self.users = network.users
        self.makers = {name: operator for operator in network.operators for name in operator.outputs}
        self.storage = Storage()
        self.in_dram = set(network.inputs) | set(network.outputs)
        for operator in network.operators:
            if isinstance(operator.function, Host):
                self.in_dram.update(operator.inputs, operator.outputs)
        self.through = self._written_through()
        self.homes = self._concat_homes()
        for name in network.inputs:
            self._own_buffer(network.tensors[name])
        for index, operator in enumerate(network.operators):
            if isinstance(operator.function, View):
                self._view(index, operator, operator.function)
            elif isinstance(operator.function, Concat):
                self._concat(index, operator)
            else:
                replaced = self._replaced(index, operator)
                if replaced:
                    self.storage.regions[operator.outputs[0]] = self.storage.regions[replaced]
                    self.storage.in_place.add(operator.outputs[0])
                for name in operator.outputs:
                    self._region(name)

    def _replaced(self, index: int, operator: Operator) -> str:
        """The operand whose bytes the result may take, element by element; "" if there is none."""
        function, result = operator.function, operator.outputs[0]
        if not self.in_place or not isinstance(function, Conv | Matmul | Eltwise) or function.tail.pool is not None:
            return ""
        if result in self.apart or result in self.homes or result in self.through or result in self.in_dram:
            return ""
        for name, role in zip(operator.inputs, roles(function), strict=True):
            in_step = role in ("factor", "addend") or (role == "data" and isinstance(function, Eltwise))
            if in_step and self._is_free(name, index, result):
                place = self.storage.regions[name]
                read = [self.storage.regions[each].memory for each in operator.inputs if each in self.storage.regions]
                if read.count(place.memory) == 1:  # nothing else that is read lies there
                    return name
        return ""

    def _is_free(self, name: str, index: int, result: str) -> bool:
        """Whether operator `index` is the last to read `name`, under whichever name, and `result` is of the same layout."""
        tensor, replaced = self.network.tensors[result], self.network.tensors[name]
        bits = [container_bits(each.format.bits) for each in (tensor, replaced)]
        if tensor.shape != replaced.shape or bits[0] != bits[1] or replaced.role != "feature":
            return False
        if name in self.homes or name in self.in_dram or not isinstance(self._maker(name), COMPUTES):
            return False
        # A tensor that is seen through a view may still be read under that name.
        is_seen = any(isinstance(self.network.operators[user].function, View | Concat) for user in self.users[name])
        return not is_seen and self.users[name][-1] == index

    def _maker(self, name: str) -> Function | None:
        """The function of the operator that makes a tensor; None of inputs and constants."""
        operator = self.makers.get(name)
        return None if operator is None else operator.function

    def _written_through(self) -> dict[str, Operator]:
        """For each tensor that is read by a view alone, which strides can't say or which has to lie in order, that view. The tensor is
        written straight into its places there.
        """
        through: dict[str, Operator] = {}
        for index, operator in enumerate(self.network.operators):
            if not isinstance(operator.function, View):
                continue
            name, result = operator.inputs[0], operator.outputs[0]
            if self.users[name] != [index] or name in self.in_dram or not self._is_moved(operator):
                continue
            place = self._place_before(operator.function, name, whole(self.network.tensors[result], result, 0))
            if place is not None and self._can_be_written(name, place):
                through[name] = operator
        return through

    def _can_be_written(self, name: str, place: Region) -> bool:
        """Whether a tensor can be made in `place`, and strides can say where each part goes, if it is a concat."""
        maker = self.makers.get(name)
        if maker is None or not isinstance(maker.function, Concat):
            return maker is not None and isinstance(maker.function, COMPUTES)
        stop, ends = 0, []
        for part in maker.inputs:
            if isinstance(self._maker(part), Concat):
                return False
            start, stop = stop, stop + self.network.tensors[part].shape[1]
            ends.append((start, stop))
        return all(_cuts(place.shape[1:], stop, each) is not None for each in ends)

    def _is_moved(self, operator: Operator) -> bool:
        """Whether what a view shows of a tensor that is stored in order has to be brought into another order."""
        view, name, result = operator.function, operator.inputs[0], operator.outputs[0]
        assert isinstance(view, View)
        users = [self.network.operators[user].function for user in self.users.get(result, ())]
        if result in self.in_dram or any(isinstance(user, Concat) for user in users):
            return True
        seen = _seen(view, whole(self.network.tensors[name], name, 0))
        if seen is None:
            return True
        is_logical = reshaped(image_of(seen, 0), self.network.tensors[result].shape[1:]) is not None
        return not is_logical and not self._can_be_read(result, seen)

    def _place_before(self, view: View, name: str, target: Region) -> Region | None:
        """The places in `target`, which is what `view` shows of it, that the elements of tensor `name` go to; None where strides
        can't say it.
        """
        tensor = self.network.tensors[name]
        shape = tuple(view.split[axis] for axis in view.order)
        shown = reshaped(image_of(target, 0), shape) if not view.stop and target.bits >= 8 else None
        if shown is None:
            return None
        stored = permuted(shown, tuple(view.order.index(axis) for axis in range(len(view.order))))
        place = reshaped(stored, tensor.shape[1:])
        if place is None and stored.shape[-2:] == tensor.shape[-2:]:
            place = stored  # channels of several axes
        return None if place is None else _with_batch(place, target)

    def _concat_homes(self) -> dict[str, tuple[str, int]]:
        """For each tensor that can be written straight into a concat: that concat's result, and its first channel there."""
        homes: dict[str, tuple[str, int]] = {}
        shown = {operator.outputs[0] for operator in self.through.values()}
        for operator in reversed(self.network.operators):
            if not isinstance(operator.function, Concat):
                continue
            result, start = operator.outputs[0], 0
            outermost = result
            while outermost in homes:
                outermost = homes[outermost][0]
            for name in operator.inputs:
                # What two views show of each other in turn strides may not say.
                made_here = isinstance(self._maker(name), COMPUTES | Concat) or (
                    name in shown and outermost not in self.through
                )
                same_place = (name in self.in_dram) == (result in self.in_dram)
                is_output = self.network.tensors[name].role == "output"
                if (
                    made_here
                    and same_place
                    and not is_output
                    and name not in homes
                    and operator.inputs.count(name) == 1
                ):
                    homes[name] = (result, start)
                start += self.network.tensors[name].shape[1]
        return homes

    def _region(self, name: str) -> Region:
        """The region of a tensor that is computed or concatenated: in its home, or in a buffer of its own."""
        if name in self.storage.regions:
            return self.storage.regions[name]
        tensor = self.network.tensors[name]
        if name in self.through:
            return self._region_through(name)
        if name not in self.homes:
            return self._own_buffer(tensor)
        home, start = self.homes[name]
        region = self._part(home, start, start + tensor.shape[1])
        self.storage.regions[name] = region
        return region

    def _region_through(self, name: str) -> Region:
        """The region of a tensor that is written into its places in what a view shows."""
        operator = self.through[name]
        assert isinstance(operator.function, View)
        region = self._place_before(operator.function, name, self._region(operator.outputs[0]))
        if region is None:
            raise ContractError(f"{name} has no places in {operator.outputs[0]}")
        self.storage.regions[name] = region
        return region

    def _own_buffer(self, tensor: Tensor, suffix: str = "") -> Region:
        name = tensor.name + suffix
        region = whole(tensor, name, 0)
        self.storage.buffers[name] = Buffer(name, tensor_bytes(tensor), tensor.name in self.in_dram)
        if not suffix:
            self.storage.regions[tensor.name] = region
        return region

    def _concat(self, index: int, operator: Operator) -> None:
        if operator.outputs[0] not in self.storage.regions and self._is_part_of_another(operator):
            return
        result, start = operator.outputs[0], 0
        self._region(result)
        for name in operator.inputs:
            channels = self.network.tensors[name].shape[1]
            if self.homes.get(name) != (result, start):
                self._move(index, self.storage.regions[name], self._part(result, start, start + channels))
            start += channels

    def _is_part_of_another(self, operator: Operator) -> bool:
        """Where all inputs lie one behind the other in a later, larger concat, the result is just that part of it."""
        result, places = operator.outputs[0], [self.homes.get(name) for name in operator.inputs]
        if result in self.homes or result in self.through or result in self.in_dram or places[0] is None:
            return False
        home, first = stop = places[0]
        for name, place in zip(operator.inputs, places, strict=True):
            if place != stop:
                return False
            stop = home, stop[1] + self.network.tensors[name].shape[1]
        self.storage.regions[result] = self._part(home, first, stop[1])
        return True

    def _part(self, name: str, start: int, stop: int) -> Region:
        """The places start..stop - 1 along the first axis behind the batch of a tensor."""
        region = self._region(name)
        cuts = _cuts(region.shape[1:], self.network.tensors[name].shape[1], (start, stop))
        if cuts is None:
            raise ContractError(f"{region} has no part {start}..{stop} of {name}")
        return box(region, None, *cuts)

    def _view(self, index: int, operator: Operator, view: View) -> None:
        source_name, name = operator.inputs[0], operator.outputs[0]
        if source_name in self.through:
            return
        tensor, source = self.network.tensors[name], self.storage.regions[source_name]
        seen = _seen(view, source)
        if seen is None:  # strides cannot say it: look at a dense copy instead
            dense_source = self._own_buffer(self.network.tensors[source_name], f" for {name}")
            self._move(index, source, dense_source)
            seen = _seen(view, dense_source)
        if seen is None:
            self._move(index, source, self._own_buffer(tensor))
            return
        if (name in self.in_dram and not self.storage.buffers[seen.memory].in_dram) or tensor.role == "output":
            self._move(index, seen, self._own_buffer(tensor))
            return
        logical = reshaped(image_of(seen, 0), tensor.shape[1:])
        if logical is not None:
            self.storage.regions[name] = _with_batch(logical, seen)
        elif self._can_be_read(name, seen):
            self.storage.regions[name] = seen
        else:
            self._move(index, seen, self._own_buffer(tensor))

    def _can_be_read(self, name: str, seen: Region) -> bool:
        """Whether all readers of a tensor can take it as more axes than it has: engines can if only channels are more of them, a
        single view even where it has to be copied for that.
        """
        sides = self.network.tensors[name].shape[1:][-2:]
        readers = [self.network.operators[user].function for user in self.users.get(name, ())]
        if seen.shape[-2:] == sides:
            return True
        return all(isinstance(each, View) and (len(readers) == 1 or _seen(each, seen) is not None) for each in readers)

    def _move(self, index: int, source: Region, target: Region) -> None:
        landing = reshaped(image_of(target, 0), source.shape[1:])
        if landing is None:
            taking = reshaped(image_of(source, 0), target.shape[1:])
            if taking is None:
                raise ContractError(f"no boxes move {source} to {target}")
            self.storage.moves.setdefault(index, []).append((_with_batch(taking, source), target))
            return
        self.storage.moves.setdefault(index, []).append((source, _with_batch(landing, target)))


def _cuts(sizes: tuple[int, ...], whole_size: int, bounds: tuple[int, int]) -> list[tuple[int, int]] | None:
    """Where an axis of `whole_size` is stored as the first of axes of `sizes`: of each of these the places that hold `bounds` of it.

    None where they hold more than that, too.
    """
    start, stop = bounds
    cuts: list[tuple[int, int]] = []
    inner = whole_size
    for size in sizes:
        if inner == 1:
            break
        inner //= size
        first, last = start // inner, (stop - 1) // inner
        cuts.append((first, last + 1))
        start, stop = start - first * inner, stop - last * inner
        if first != last and (start or stop != inner):
            return None
    return cuts


def _seen(view: View, source: Region) -> Region | None:
    seen = seen_through(view, image_of(source, 0))
    return None if seen is None else _with_batch(seen, source)


def _with_batch(image: Region, batched: Region) -> Region:
    """The region of all images, given that of the first and a region that has the batch axis."""
    return Region(
        image.memory,
        image.offset_bytes,
        (batched.shape[0], *image.shape),
        (batched.strides[0], *image.strides),
        image.bits,
    )
