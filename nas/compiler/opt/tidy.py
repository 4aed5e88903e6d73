"""Small rewritings around the fusion: coded inputs, views behind element-wise operators, dead operators."""

from dataclasses import dataclass

import msgspec

from nas.compiler.network import Network
from nas.compiler.opt.steps import Step, first_step
from nas.hw.spec import Processor
from nas.ir.command import Eltwise
from nas.ir.program import Operator, View


@dataclass(frozen=True)
class CodedInputs:
    """An input whose only reader quantises it is handed over as codes: a camera delivers 8-bit pixels, not floats."""

    name: str = "coded_inputs"
    why: str = "a quarter of the bytes of a float image, and one operator less"

    def run(self, network: Network, processor: Processor) -> Network:
        del processor
        users, tensors, operators = network.users(), dict(network.tensors), list(network.operators)
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
class SinkViews:
    """view then element-wise becomes element-wise then view, where the element-wise operator looks at one element only."""

    name: str = "sink_views"
    why: str = "behind a pool or a convolution the element-wise operator can be fused"

    def run(self, network: Network, processor: Processor) -> Network:
        del processor
        tensors, operators, users = dict(network.tensors), list(network.operators), network.users()
        makers = {operator.outputs[0]: index for index, operator in enumerate(operators)}
        for index, operator in enumerate(operators):
            function = operator.function
            if not isinstance(function, Eltwise) or first_step(function.tail) < Step.ACTIVATION:
                continue
            view_index = makers.get(operator.inputs[0])
            if view_index is None or len(users[operator.inputs[0]]) != 1:
                continue
            view = operators[view_index]
            source = tensors[view.inputs[0]]
            if not isinstance(view.function, View) or view.function.stop or source.role == "input":
                continue
            middle, result = operator.inputs[0], operator.outputs[0]
            if tensors[middle].role == "output":
                continue
            # The tensor between the two keeps its name and gets the other's shape and format.
            tensors[middle] = msgspec.structs.replace(tensors[middle], shape=source.shape, format=function.tail.output)
            operators[view_index] = Operator(operator.layer, function, view.inputs, (middle,))
            operators[index] = Operator(view.layer, view.function, (middle,), (result,))
        return Network(network.name, tuple(operators), tensors, network.inputs, network.outputs, network.constants)


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
