"""What a pass is: a frozen value that turns a network into a network, and a pipeline: passes in a list, each with a why."""

from collections.abc import Sequence
from typing import Protocol

from nas.compiler.network import Network
from nas.hw.spec import Processor


class Pass(Protocol):
    """One rewriting of a network. Its fields are its options; `name` is its switch."""

    @property
    def name(self) -> str: ...

    @property
    def why(self) -> str: ...

    def run(self, network: Network, processor: Processor) -> Network:
        """The rewritten network: the same function of the inputs, up to rounding where the pass says so."""
        ...


def run_passes(
    passes: Sequence[Pass], network: Network, processor: Processor, switched_off: frozenset[str] = frozenset()
) -> Network:
    """Run the passes in order, but those that are switched off."""
    for step in passes:
        if step.name not in switched_off:
            network = step.run(network, processor)
    return network
