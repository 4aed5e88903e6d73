"""Small rewritings around the fusion: coded inputs, dead operators."""

from dataclasses import dataclass

import msgspec

from nas.compiler.network import Network
from nas.compiler.opt.rewrite.steps import Step, first_step
from nas.hw.spec import Processor
from nas.ir.command import Eltwise


@dataclass(frozen=True)
class CodedInputs:
    """An input whose only reader quantises it is handed over as codes: a camera delivers 8-bit pixels, not floats."""

    name: str = "coded_inputs"
    why: str = "a quarter of the bytes of a float image, and one operator less"

    def run(self, network: Network, processor: Processor) -> Network:
        del processor
        users, tensors, operators = network.users, dict(network.tensors), list(network.operators)
        dropped: dict[str, str] = {}
        for name in network.inputs:
            readers = users.get(name, [])
            if len(readers) != 1:
                continue
            operator = operators[readers[0]]
            function = operator.function
            if not isinstance(function, Eltwise) or first_step(function.tail) != Step.ENCODE:
                continue
            if tensors[operator.outputs[0]].role == "output":
                continue
            tensors[name] = msgspec.structs.replace(tensors[name], format=function.tail.output)
            dropped[operator.outputs[0]] = name
        kept = [operator for operator in operators if operator.outputs[0] not in dropped]
        renamed = tuple(
            msgspec.structs.replace(operator, inputs=tuple(dropped.get(name, name) for name in operator.inputs))
            for operator in kept
        )
        return Network(network.name, renamed, tensors, network.inputs, network.outputs, network.constants)


@dataclass(frozen=True)
class DropDead:
    """Operators whose results nobody reads, and tensors that nobody mentions, go."""

    name: str = "dce"
    why: str = "an operator without readers costs time and changes nothing"

    def run(self, network: Network, processor: Processor) -> Network:
        del processor
        needed, kept = set(network.outputs), []
        for operator in reversed(network.operators):
            if needed.isdisjoint(operator.outputs):
                continue
            needed.update(operator.inputs)
            kept.append(operator)
        alive = needed.union(network.inputs, *(operator.outputs for operator in kept))
        tensors = {name: tensor for name, tensor in network.tensors.items() if name in alive}
        constants = {name: stored for name, stored in network.constants.items() if name in alive}
        return Network(network.name, tuple(reversed(kept)), tensors, network.inputs, network.outputs, constants)
