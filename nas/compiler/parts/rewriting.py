"""A network in the making out of another one: what passes that cut operators into parts have in common."""

from dataclasses import dataclass, replace

from nas.compiler.network import Bytes, Network, unused_name
from nas.ir.program import Operator, View
from nas.ir.tensor import Tensor


@dataclass
class Rewriting:
    """Starts with the tensors and constants of a network, and without operators."""

    tensors: dict[str, Tensor]
    constants: dict[str, Bytes]
    operators: list[Operator]

    def result(self, network: Network) -> Network:
        """`network` of these operators, without the constants that none of them reads any longer."""
        read = {name for operator in self.operators for name in operator.inputs}
        tensors = {name: each for name, each in self.tensors.items() if each.role != "constant" or name in read}
        constants = {name: each for name, each in self.constants.items() if name in read}
        return replace(network, operators=tuple(self.operators), tensors=tensors, constants=constants)

    def new(self, name: str, like: Tensor) -> str:
        """A tensor of an unused name; whatever is no constant is a feature."""
        name = unused_name(name, self.tensors)
        self.tensors[name] = Tensor(name, like.shape, like.format, "constant" if like.role == "constant" else "feature")
        return name

    def part(self, layer: str, name: str, start: int, stop: int) -> str:
        """The places start..stop - 1 along the first axis behind the batch of a feature, as a tensor of its own."""
        part = self.new(f"{name}.part", resized(self.tensors[name], stop - start))
        self.show(layer, name, (start, stop), part)
        return part

    def show(self, layer: str, name: str, places: tuple[int, int], part: str) -> None:
        """Make `part`, a tensor that is known already, these places (half-open) of `name`."""
        inner = self.tensors[name].shape[1:]
        self.operators.append(Operator(layer, View(inner, tuple(range(len(inner))), *places), (name,), (part,)))

    def constant_part(self, name: str, *places: tuple[int, int]) -> str:
        """A constant of these places (half-open) along the first axes of another one; of numbers that share bytes along the first alone."""
        whole = self.tensors[name]
        shape = (*(stop - start for start, stop in places), *whole.shape[len(places) :])
        made = self.new(f"{name}.part", Tensor("", shape, whole.format, "constant"))
        if name in self.constants:
            elements = self.constants[name].reshape(*whole.shape[: len(places)], -1)
            self.constants[made] = elements[tuple(slice(*each) for each in places)].reshape(-1)
        return made


def resized(tensor: Tensor, size: int) -> Tensor:
    """One like it, with so many places along the first axis behind the batch (of weights: behind the outputs)."""
    return Tensor(tensor.name, (tensor.shape[0], size, *tensor.shape[2:]), tensor.format, tensor.role)
