"""A whole program -> the cycles that no compiler can go below, from its operators and tensors alone.

    compute   every multiply-add that an output depends on, on the matrix engines at their peak and on the vector lanes at
              theirs, split in the best way, and evenly over the cores
    traffic   what outputs depend on of constants and inputs, and an engine needs, comes in once; outputs that an engine makes
              go out once, at full bandwidth
    host      the calls of what only the host knows, its own way to the dram included
    waiting   what has to be computed before the weights behind it are of use, and then their transfer as far as the sram
              can't hold them before (`precedence`)

The parts may overlap, so the bound is the largest (a roofline, Williams et al., Communications of the ACM 52(4), 2009). What
outputs depend on is `needed`'s: a convolution with a step of 2 behind others leaves most of what these could make out.

The peak of the array for one operator is `peak`'s. A command works for one operator and makes whole sums, products with
padding included, as the checker's rule `operator` has it.
"""

import math

import msgspec

from nas.core.errors import ContractError
from nas.hw.spec import Processor
from nas.ir.command import Conv, Host, Matmul
from nas.ir.program import Concat, Operator, Program, View
from nas.ir.tensor import Tensor
from nas.timing.cycles import seconds_to_cycles, transfer_cycles
from nas.timing.matrix import passes
from nas.timing.needed import Mask, elements, needed, sums
from nas.timing.peak import Product, peak_macs
from nas.timing.precedence import waiting_cycles


class Bounds(msgspec.Struct, frozen=True):
    """Lower bounds in cycles, and the counts that they come from."""

    compute_cycles: int
    traffic_cycles: int
    host_cycles: int
    macs: int
    compulsory_bytes: int
    waiting_cycles: int = 0

    @property
    def cycles(self) -> int:
        return max(self.compute_cycles, self.traffic_cycles, self.host_cycles, self.waiting_cycles)


class _Job(msgspec.Struct, frozen=True):
    """One operator's cycles if either engine did all of it at its peak."""

    macs: int
    matrix_cycles: float
    vector_cycles: float


def program_bounds(program: Program, processor: Processor) -> Bounds:
    """Lower bounds of `program` on `processor`, whatever its commands are."""
    tensors = {tensor.name: tensor for tensor in program.tensors}
    operators = _once(program, tensors)
    masks = needed(operators, tensors)
    by_operator = {i: job for i, each in enumerate(operators) if (job := _job(each, masks, tensors, processor))}
    jobs = list(by_operator.values())
    whole = {name for name, mask in masks.items() if mask.all()}
    moved = _compulsory_bytes(masks, tensors)
    on_chip_bytes = processor.cores * processor.sram.size_bytes

    def compute(places: list[int]) -> float:
        return _best_split_cycles([by_operator[i] for i in places if i in by_operator]) / processor.cores

    def load(size_bytes: int) -> int:
        return transfer_cycles(max(0, size_bytes - on_chip_bytes), processor)

    return Bounds(
        compute_cycles=math.ceil(_best_split_cycles(jobs) / processor.cores - 1e-6),
        traffic_cycles=transfer_cycles(sum(moved.values()) - _host_bytes(program, moved), processor),
        host_cycles=sum(_host_cycles(operator, tensors, processor) for operator in operators),
        macs=sum(job.macs for job in jobs),
        compulsory_bytes=sum(moved.values()),
        waiting_cycles=waiting_cycles(operators, tensors, whole, compute, load),
    )


def _compulsory_bytes(masks: dict[str, Mask], tensors: dict[str, Tensor]) -> dict[str, int]:
    """The bytes of constants and inputs that some output depends on, and of outputs, each once."""
    return {
        name: -(-elements(name, masks, tensors) * tensor.format.bits // 8)
        for name, tensor in tensors.items()
        if tensor.role in ("input", "constant", "output")
    }


def _host_bytes(program: Program, compulsory: dict[str, int]) -> int:
    """Those of the compulsory bytes that the host may move by itself: what it alone reads, and what it makes, also as views show it."""
    sizes = {each.name: -(-math.prod(each.shape) * each.format.bits // 8) for each in program.tensors}
    made: dict[str, int] = {}
    for operator in program.operators:
        shown = sum(made.get(name, 0) for name in operator.inputs) if _computes_nothing(operator) else 0
        for name in operator.outputs:
            made[name] = sizes.get(name, 0) if isinstance(operator.function, Host) else min(sizes.get(name, 0), shown)
    outputs = {tensor.name for tensor in program.tensors if tensor.role == "output"}
    by_host, by_engines = set[str](), set(outputs)
    for operator in reversed(program.operators):
        is_host = isinstance(operator.function, Host)
        is_host |= _computes_nothing(operator) and not by_engines.intersection(operator.outputs)
        (by_host if is_host else by_engines).update(operator.inputs)
    sources = {tensor.name for tensor in program.tensors if tensor.role in ("input", "constant")}
    read = sum(compulsory[name] for name in by_host & sources - by_engines)
    return read + sum(made.get(name, 0) for name in outputs)


def _computes_nothing(operator: Operator) -> bool:
    return isinstance(operator.function, View | Concat)


def _once(program: Program, tensors: dict[str, Tensor]) -> tuple[Operator, ...]:
    """The operators but for those that do again what another one did: no compiler has to."""
    done: dict[tuple[object, ...], Operator] = {}
    renamed: dict[str, str] = {}
    kept = []
    for operator in program.operators:
        inputs = tuple(renamed.get(name, name) for name in operator.inputs)
        # A view of one name may have many shapes.
        shapes = tuple(tensors[name].shape for name in operator.outputs if name in tensors)
        key = (operator.function, inputs, shapes)
        known = None if isinstance(operator.function, Host) else done.get(key)
        if known is not None and all(tensors[name].role == "feature" for name in operator.outputs):
            renamed.update(zip(operator.outputs, known.outputs, strict=True))
        else:
            done[key] = operator
            kept.append(Operator(operator.layer, operator.function, inputs, operator.outputs))
    return tuple(kept)


def _job(operator: Operator, masks: dict[str, Mask], tensors: dict[str, Tensor], processor: Processor) -> _Job | None:
    function, matrix = operator.function, processor.matrix
    if not isinstance(function, Conv | Matmul):
        return None
    source, weights = (_tensor(operator, tensors, index) for index in (0, 1))
    images, sides, kernel, stride, groups = source.shape[0], (1, 1), (1, 1), (1, 1), 1
    shape = weights.shape[-4:]  # of one image, where they are a map
    outputs, depth = shape[:2]
    if isinstance(function, Conv):
        window, groups = function.window, function.groups
        sides, kernel, stride = window.output_size(*source.shape[-2:]), window.kernel, window.stride
    else:
        images = math.prod(source.shape) // depth
    macs = sums(operator, masks, tensors) * math.prod(shape[1:])
    product = Product(images, sides, kernel, stride, depth, outputs // groups, groups)
    matrix_macs = peak_macs(product, matrix, passes(function.weight, function.input, matrix))
    return _Job(macs, macs / matrix_macs, macs / processor.vector.lanes)


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
