"""A pipeline: stretches of operators, one a core, through which the images go in chunks.

The slowest stage sets the pace. Where to cut is found exactly, by estimate: the smallest longest stage, by dynamic
programming over the operators (C. Bokhari, "Partitioning problems in parallel, pipelined, and distributed computing", IEEE
Transactions on Computers 37(1), 1988).
"""

from nas.compiler.network import Network
from nas.compiler.parallel.cut import can_cut_images
from nas.compiler.parallel.estimate import Estimator
from nas.compiler.parallel.partition import Partition, Stretch
from nas.hw.spec import Processor


def choose_stages(network: Network, processor: Processor, cores: int, chunks: int) -> tuple[Partition, float] | None:
    """A pipeline over `cores`, and its estimate; None where the images can't be computed apart."""
    count = len(network.operators)
    stages = min(cores, count)
    if stages < 2 or chunks < 2 or not all(can_cut_images(operator, network) for operator in network.operators):
        return None
    name = f"{stages} stages, {chunks} chunks of images"
    estimator = Estimator(network, processor, Partition(name, (), stages, 1, chunks))
    costs = [dict(estimator.backwards(last, "stage", last)) for last in range(count + 1)]
    # By the number of stages: the longest stage up to each operator, and where its last one begins.
    longest = [0.0] + [float("inf")] * count
    begins: list[list[int]] = []
    for _ in range(stages):
        following, begin = [float("inf")] * (count + 1), [0] * (count + 1)
        for last in range(1, count + 1):
            for first, cycles in costs[last].items():
                pace = max(longest[first], cycles)
                if pace < following[last]:
                    following[last], begin[last] = pace, first
        longest = following
        begins.append(begin)
    stretches: list[Stretch] = []
    last = count
    for begin in reversed(begins):
        stretches.insert(0, Stretch(begin[last], last, "stage"))
        last = begin[last]
    return Partition(name, tuple(stretches), stages, 1, chunks), longest[count] * (stages + chunks - 1)
