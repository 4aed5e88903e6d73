"""Random branches in another order: the same values, checked programs, a peak that is no higher, and never more cycles."""

import dataclasses

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.check.parallel import check_par_program
from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.opt.rewrite.early import Early
from nas.compiler.opt.rewrite.reorder import Reorder, peak_bytes
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.parallel.spread import spread
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision, network_to_price
from nas.core.errors import DoesNotFit, Violation
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values, run_values_parallel
from tests.networks import RandomBranches, RandomNetwork

EDGE_NPU = find_processor("edge_npu")
SHAPE = (1, 3, 24, 24)
# What is done later (`recompute`) is another order, too.
ON, OFF = frozenset(["recompute"]), frozenset(["reorder", "recompute"])


def with_sram(kib: int, cores: int = 1) -> Processor:
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=kib << 10, banks=1)
    return msgspec.structs.replace(EDGE_NPU, sram=sram, cores=cores)


def network_of(seed: int, processor: Processor) -> Network:
    generator = np.random.default_rng(seed)
    module = RandomBranches(generator) if seed % 3 else RandomNetwork(generator)
    return run_passes(PASSES, network_to_price(module.eval(), SHAPE, processor, "int8"), processor)


def is_legal(network: Network) -> bool:
    """Whether everything is made before it is read."""
    made = {name for name, tensor in network.tensors.items() if tensor.role in ("input", "constant")}
    for operator in network.operators:
        if not made.issuperset(operator.inputs):
            return False
        made.update(operator.outputs)
    return made.issuperset(network.outputs)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([2, 4, 8, 16, 32]), st.sampled_from([1, 4000]))
def test_another_order_is_legal_and_its_peak_is_no_higher(seed: int, kib: int, sets: int) -> None:
    processor = with_sram(kib)
    network = network_of(seed, processor)
    reordered = Reorder(sets).run(network, processor)
    assert is_legal(reordered)
    key = [operator.outputs for operator in network.operators]
    assert sorted(reordered.operators, key=lambda each: key.index(each.outputs)) == list(network.operators)
    assert peak_bytes(reordered) <= peak_bytes(network)
    assert Reorder(sets).run(network, processor) == reordered
    if peak_bytes(network) <= processor.sram.size_bytes:
        assert reordered is network


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([4, 16, 64, 512]))
def test_what_begins_early_is_legal_and_the_same(seed: int, kib: int) -> None:
    processor = with_sram(kib)
    network = network_of(seed, processor)
    early = Early().run(network, processor)
    assert is_legal(early)
    key = [operator.outputs for operator in network.operators]
    assert sorted(early.operators, key=lambda each: key.index(each.outputs)) == list(network.operators)
    assert peak_bytes(early) <= max(peak_bytes(network), processor.sram.size_bytes)


def test_something_begins_early() -> None:
    """Or else the test before would look at nothing."""
    processor = with_sram(512)
    networks = [network_of(seed, processor) for seed in range(24)]
    assert sum(Early().run(each, processor) is not each for each in networks) >= 4


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([10, 16, 24, 40]), st.sampled_from([OFF, frozenset(["early"])]))
def test_the_passes_make_no_program_slower(seed: int, kib: int, without: frozenset[str]) -> None:
    processor = with_sram(kib)
    network = network_of(seed, processor)
    try:
        off, _ = optimise(network, processor, without)
    except DoesNotFit:
        return
    on, _ = optimise(network, processor, ON if without == OFF else frozenset())
    raise_findings(check_program(on, processor), "reordered")
    cycles = [simulate_parallel(parallelise(each), processor).cycles for each in (on, off)]
    assert cycles[0] <= cycles[1]


def test_random_branches_are_reordered_and_gain_by_it() -> None:
    """Or else the tests of this file would look at nothing."""
    processor, changed, gains = with_sram(16), 0, []
    for seed in range(5):
        network = network_of(3 * seed + 1, processor)
        reordered = Reorder().run(network, processor)
        if reordered is not network:
            changed += 1
            programs = (optimise(network, processor, off)[0] for off in (ON, OFF))
            on, off = (simulate_parallel(parallelise(each), processor).cycles for each in programs)
            gains.append(off / on)
    assert changed >= 2
    assert max(gains) > 1.1


def test_several_cores_gain_by_it_or_do_without() -> None:
    processor, gains = with_sram(16, cores=2), []
    for seed in (7, 16, 25):
        network = network_of(seed, processor)
        ways = [(spread(network, processor, optimise(network, processor, off), off)) for off in (OFF, ON)]
        gains.append(ways[0].trace.cycles / ways[1].trace.cycles)
        raise_findings(check_par_program(ways[1].parallel, processor, ways[1].sequence), "reordered")
    assert min(gains) >= 1
    assert max(gains) > 1.1


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([10, 16, 24]), st.sampled_from([1, 2]))
def test_values_are_those_of_the_order_as_traced(seed: int, kib: int, cores: int) -> None:
    processor = with_sram(kib, cores)
    module = RandomBranches(np.random.default_rng(seed)).eval()
    results = []
    for off in (ON, OFF):
        compiled = compile_network(module, SHAPE, processor, switched_off=off, precision=Precision("int8"))
        if isinstance(compiled, Violation):
            return
        assert isinstance(compiled, Compiled)
        inputs = {"input": compiled.truth["input"]}
        results.append(run_values(compiled.optimised, compiled.constants, inputs))
        results.append(
            run_values_parallel(compiled.parallel, compiled.parallel_constants, inputs, np.random.default_rng(seed))
        )
    for name, expected in results[-2].items():
        for each in results:
            np.testing.assert_array_equal(each[name], expected)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_any_order_at_all_can_be_planned(seed: int) -> None:
    """Random topological orders of one network pass the checker, so that the pass may choose whichever it likes."""
    processor, generator = with_sram(24), np.random.default_rng(seed)
    network = network_of(3 * seed + 1, processor)
    waiting, operators = list(network.operators), []
    made = {name for name, tensor in network.tensors.items() if tensor.role in ("input", "constant")}
    while waiting:
        ready = [each for each in waiting if made.issuperset(each.inputs)]
        chosen = ready[int(generator.integers(len(ready)))]
        waiting.remove(chosen)
        operators.append(chosen)
        made.update(chosen.outputs)
    try:
        program, _ = optimise(dataclasses.replace(network, operators=tuple(operators)), processor)
    except DoesNotFit:
        return
    raise_findings(check_program(program, processor), "random order")
