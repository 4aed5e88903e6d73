"""A whole program -> the cycles that no compiler can go below, from its operators and tensors alone.

    compute   every multiply-add on the matrix engines at their peak and on the vector lanes at theirs, split in the best
              way, and evenly over the cores
    traffic   constants and inputs come in once, outputs go out once, at full bandwidth
    host      the calls of what only the host knows

The parts may overlap, so the bound is the largest (a roofline, Williams et al., Communications of the ACM 52(4), 2009).
"""

import math

import msgspec

from nas.core.errors import ContractError
from nas.hw.spec import Processor
from nas.ir.command import Conv, Host, Matmul
from nas.ir.program import Operator, Program
from nas.ir.tensor import Tensor
from nas.timing.cycles import seconds_to_cycles, transfer_cycles
from nas.timing.matrix import passes


class Bounds(msgspec.Struct, frozen=True):
    """Lower bounds in cycles, and the counts that they come from."""

    compute_cycles: int
    traffic_cycles: int
    host_cycles: int
    macs: int
    compulsory_bytes: int

    @property
    def cycles(self) -> int:
        return max(self.compute_cycles, self.traffic_cycles, self.host_cycles)


class _Job(msgspec.Struct, frozen=True):
    """One operator's cycles if either engine did all of it at its peak."""

    macs: int
    matrix_cycles: float
    vector_cycles: float


def program_bounds(program: Program, processor: Processor) -> Bounds:
    """Lower bounds of `program` on `processor`, whatever its commands are."""
    tensors = {tensor.name: tensor for tensor in program.tensors}
    jobs = [job for operator in program.operators if (job := _job(operator, tensors, processor))]
    moved = compulsory_bytes(program)
    return Bounds(
        compute_cycles=math.ceil(_best_split_cycles(jobs) / processor.cores - 1e-6),
        traffic_cycles=transfer_cycles(moved, processor),
        host_cycles=sum(_host_cycles(operator, tensors, processor) for operator in program.operators),
        macs=sum(job.macs for job in jobs),
        compulsory_bytes=moved,
    )


def compulsory_bytes(program: Program) -> int:
    """The bytes of constants and inputs that some operator reads, and of outputs, each once."""
    read = {name for operator in program.operators for name in operator.inputs}
    total = 0
    for tensor in program.tensors:
        if tensor.role == "output" or (tensor.role in ("input", "constant") and tensor.name in read):
            total += -(-math.prod(tensor.shape) * tensor.format.bits // 8)
    return total


def _job(operator: Operator, tensors: dict[str, Tensor], processor: Processor) -> _Job | None:
    function, matrix = operator.function, processor.matrix
    if not isinstance(function, Conv | Matmul):
        return None
    source, weights = (_tensor(operator, tensors, index) for index in (0, 1))
    if isinstance(function, Conv):
        rows, columns = function.window.output_size(*source.shape[-2:])
        macs = source.shape[0] * rows * columns * math.prod(weights.shape)
        channels = weights.shape[0] // function.groups
    else:
        channels = weights.shape[0]
        macs = math.prod(source.shape) * channels
    # Groups share nothing: in either dataflow a row of cells works for one group, on no more columns than it has channels.
    rate = matrix.rows * min(matrix.columns, channels)
    slices, per_cycle = passes(function.weight, function.input, matrix)
    return _Job(macs, macs * slices / per_cycle / rate, macs / processor.vector.lanes)


def _best_split_cycles(jobs: list[_Job]) -> float:
    """The least time in which both engines together can do all jobs, each job split between them as suits best.

    By linear-programming duality it is the maximum over a in [0, 1] of sum min(a * matrix, (1 - a) * vector), a concave
    function whose corners lie where the two terms of some job are equal.
    """
    corners = {job.vector_cycles / (job.matrix_cycles + job.vector_cycles) for job in jobs if job.macs}
    return max(
        (sum(min(a * job.matrix_cycles, (1 - a) * job.vector_cycles) for job in jobs) for a in corners), default=0.0
    )


def _host_cycles(operator: Operator, tensors: dict[str, Tensor], processor: Processor) -> int:
    if not isinstance(operator.function, Host):
        return 0
    names = (*operator.inputs, *operator.outputs)
    elements = sum(math.prod(tensors[name].shape) for name in names if name in tensors)
    return seconds_to_cycles(processor.host.call_s + elements / processor.host.operations_per_s, processor)


def _tensor(operator: Operator, tensors: dict[str, Tensor], index: int) -> Tensor:
    name = operator.inputs[index] if index < len(operator.inputs) else "nothing"
    if name not in tensors:
        raise ContractError(f"operator of {operator.layer} reads {name!r}, which is no tensor of the program")
    return tensors[name]
