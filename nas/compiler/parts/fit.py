"""What has to be cut before any program can be made: operators of which not even the smallest tile fits the chip."""

from nas.compiler.network import Network
from nas.compiler.parts.depth import Depth
from nas.compiler.parts.heads import Heads
from nas.compiler.passes import Pass, run_passes
from nas.hw.spec import Processor

# Whole groups first, and only then the sums.
FIT: tuple[Pass, ...] = (Heads(), Depth())


def cut_to_fit(network: Network, processor: Processor) -> Network:
    """Where everything fits, the network as it is. For the naive program; the optimiser cuts what it has fused."""
    return run_passes(FIT, network, processor)
