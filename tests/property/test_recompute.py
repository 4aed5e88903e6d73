"""Random networks with maps that wait: what is made again is legal, lowers the overflow, gives the same values, and never costs."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.check.parallel import check_par_program
from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.driver import Compiled, compile_network
from nas.compiler.legal import network_breach
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES, network_of_program, optimise
from nas.compiler.opt.rewrite.recompute import Recompute
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.parallel.spread import spread
from nas.compiler.passes import run_passes
from nas.compiler.precision import Precision, network_to_price
from nas.core.errors import DoesNotFit, Violation
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values, run_values_parallel
from tests.networks import RandomBranches, RandomNetwork, RandomSkips

EDGE_NPU = find_processor("edge_npu")
SHAPE = (1, 3, 24, 24)
OFF = frozenset(["recompute"])
ALONE = frozenset(["recompute", "reorder"])


def with_sram(kib: int, cores: int = 1) -> Processor:
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=kib << 10, banks=1)
    return msgspec.structs.replace(EDGE_NPU, sram=sram, cores=cores)


def network_of(seed: int, processor: Processor) -> Network:
    generator = np.random.default_rng(seed)
    module = (RandomSkips, RandomSkips, RandomBranches, RandomNetwork)[seed % 4](generator)
    return run_passes(PASSES, network_to_price(module.eval(), SHAPE, processor, "int8"), processor)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([4, 8, 16, 32]), st.integers(1, 4))
def test_the_network_is_the_same_but_for_operators_done_again(seed: int, kib: int, depth: int) -> None:
    processor = with_sram(kib)
    network = network_of(seed, processor)
    again = Recompute(depth).run(network, processor)
    assert network_breach(again) == network_breach(network) == ("", "")
    known = {name for operator in network.operators for name in operator.outputs}
    assert known <= {name for operator in again.operators for name in operator.outputs}
    # Two tensors are the same if the same is done to the same: all that is new is, and all inputs are, under new names.
    same: dict[str, object] = {}
    for operator in (*network.operators, *again.operators):
        did = (operator.layer, operator.function, tuple(same.get(name, name) for name in operator.inputs))
        for name in operator.outputs:
            assert same.setdefault(name, did) == did
    assert {repr(same[name]) for name in same if name not in known} <= {repr(same[name]) for name in known}
    assert Recompute(depth).run(network, processor) == again


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([8, 12, 16, 24]))
def test_the_pass_makes_no_program_slower(seed: int, kib: int) -> None:
    processor = with_sram(kib)
    network = network_of(seed, processor)
    try:
        off, _ = optimise(network, processor, OFF)
    except DoesNotFit:
        return
    on, _ = optimise(network, processor)
    raise_findings(check_program(on, processor), "done again")
    cycles = [simulate_parallel(parallelise(each), processor).cycles for each in (on, off)]
    assert cycles[0] <= cycles[1]
    if Recompute().run(network, processor) is network and on.operators == off.operators:
        assert on == off


def test_random_skips_are_made_again_and_gain_by_it() -> None:
    """Or else the tests of this file would look at nothing."""
    processor, gains = with_sram(16), []
    for seed in range(0, 24, 4):
        network = network_of(seed, processor)
        if Recompute().run(network, processor) is not network:
            programs = (optimise(network, processor, off)[0] for off in (frozenset[str](), OFF))
            on, off = (simulate_parallel(parallelise(each), processor).cycles for each in programs)
            gains.append(off / on)
    assert len(gains) >= 3
    assert max(gains) > 1.03


def test_two_cores_are_never_slower_than_one_with_it() -> None:
    one, two = with_sram(16), with_sram(16, cores=2)
    for seed in (0, 4):
        network = network_of(seed, one)
        planned = optimise(network, two)
        found = spread(network, two, planned)
        raise_findings(check_par_program(found.parallel, two, found.sequence), "done again")
        assert found.trace.cycles <= simulate_parallel(parallelise(optimise(network, one)[0]), one).cycles


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([10, 16, 24]))
def test_values_are_the_same(seed: int, kib: int) -> None:
    """Of the network with operators done again, whether it is faster or not."""
    processor = with_sram(kib)
    module = RandomSkips(np.random.default_rng(seed)).eval()
    compiled = compile_network(module, SHAPE, processor, switched_off=OFF, precision=Precision("int8"))
    if isinstance(compiled, Violation):
        return
    assert isinstance(compiled, Compiled)
    network = network_of_program(compiled.naive, compiled.naive_constants, "naive")
    network = run_passes(PASSES, network, processor)
    again = Recompute().run(network, processor)
    try:
        program, constants = optimise(again, processor, ALONE)
    except DoesNotFit:
        return
    inputs = {"input": compiled.truth["input"]}
    par = parallelise(program)
    raise_findings(check_par_program(par, processor, program), "done again")
    expected = run_values(compiled.optimised, compiled.constants, inputs)
    results = [
        run_values(program, constants, inputs),
        run_values_parallel(par, constants, inputs, np.random.default_rng(seed)),
    ]
    for name, values in expected.items():
        for each in results:
            np.testing.assert_array_equal(each[name], values)
