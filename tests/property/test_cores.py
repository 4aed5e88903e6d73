"""What holds for every network on one to eight cores: legal, the same values, no race under clouds, and never slower."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import models
from nas.check.parallel import check_par_program
from nas.compiler.front_end.lowerings.fallback import run_on_host
from nas.compiler.network import Network
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.parallel.candidates import candidates
from nas.compiler.parallel.piece import CannotCut
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.parallel.spread import ONE_CORE, partitioned, spread
from nas.compiler.passes import run_passes
from nas.compiler.precision import AS_IT_IS, network_in
from nas.core.errors import DoesNotFit
from nas.hw.load import find_processor
from nas.hw.spec import Processor
from nas.ir.cores import engine_of_queue
from nas.ir.deps import dependences
from nas.ir.par_program import Step
from nas.sim.clouds import Clouds
from nas.sim.parallel import simulate_parallel
from nas.sim.values import run_values, run_values_parallel
from tests.networks import RandomNetwork, random_arch

EDGE_NPU = find_processor("edge_npu")


def with_cores(cores: int, sram_kib: int = 512) -> Processor:
    sram = msgspec.structs.replace(EDGE_NPU.sram, size_bytes=sram_kib * 1024)
    return msgspec.structs.replace(EDGE_NPU, cores=cores, sram=sram)


def lowered(seed: int, batch: int, processor: Processor) -> tuple[Network, tuple[int, ...]]:
    """A random network of searchable blocks, or of odd layers and host calls; some are quantised."""
    generator = np.random.default_rng(seed)
    module: nn.Module
    if seed % 2:
        module, shape = models.build(random_arch(generator, quantised=seed % 4 == 1), seed), (batch, 3, 16, 16)
    else:
        module = RandomNetwork(generator, depth=int(generator.integers(2, 6)))
        shape = (batch, 3, int(generator.integers(8, 18)), int(generator.integers(8, 18)))
    return network_in(module.eval(), shape, processor, AS_IT_IS, "random"), shape


@settings(max_examples=9, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 8), st.sampled_from([32, 512]))
def test_every_partition_is_legal_and_computes_the_same(seed: int, batch: int, cores: int, sram_kib: int) -> None:
    processor = with_cores(cores, sram_kib)
    network, shape = lowered(seed, batch, processor)
    try:
        program, constants = optimise(network, processor)
    except DoesNotFit:
        return
    inputs = {"input": np.random.default_rng(seed).random(shape).astype(np.float32)}
    expected = run_values(program, constants, inputs, run_on_host)
    passed = run_passes(PASSES, network, processor)
    for partition in candidates(passed, processor, cores):
        try:
            sequence, packed = partitioned(passed, partition, processor)
        except (CannotCut, DoesNotFit):
            continue
        par = parallelise(sequence)
        assert check_par_program(par, processor, sequence, sequential_is_checked=False) == (), partition.name
        seen = run_values_parallel(par, packed, inputs, np.random.default_rng(seed), run_on_host)
        for name, value in expected.items():
            np.testing.assert_allclose(seen[name], value, rtol=1e-4, atol=1e-4, err_msg=partition.name)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 8))
def test_more_cores_are_never_slower(seed: int, batch: int, cores: int) -> None:
    network, _ = lowered(seed, batch, with_cores(1))
    one_core = optimise(network, with_cores(1))
    one = simulate_parallel(parallelise(one_core[0]), with_cores(1))
    found = spread(network, with_cores(cores), one_core)
    trace = simulate_parallel(found.parallel, with_cores(cores))
    assert found.trace == trace
    assert trace.cycles <= one.cycles
    if cores > 1:
        assert trace.cycles == min(found.cycles.values()) == found.cycles[found.partition]
        assert found.cycles[ONE_CORE] == one.cycles
    assert max(engine_of_queue(span.engine)[1] for span in trace.spans) < cores


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 8))
def test_under_any_weather_what_depends_on_a_command_starts_after_its_end(seed: int, batch: int, cores: int) -> None:
    processor = with_cores(cores)
    network, _ = lowered(seed, batch, processor)
    found = spread(network, processor, optimise(network, processor))
    # Queues run in order: the nth span of a queue is its nth command.
    queues, place = found.parallel.queues, {}
    for name, steps in queues.items():
        place.update({id(step.command): (name, index) for index, step in enumerate(steps)})
    commands = found.sequence.commands
    for weather in (None, *(Clouds(each, latency_sigma=1.0, stolen_share=0.4) for each in range(3))):
        trace = simulate_parallel(found.parallel, processor, weather)
        times = {name: [span for span in trace.spans if span.engine == name] for name in queues}
        for index, earlier in enumerate(dependences(commands)):
            name, position = place[id(commands[index])]
            for other in earlier:
                before, at = place[id(commands[other])]
                assert times[before][at].end_cycles <= times[name][position].start_cycles


@pytest.mark.parametrize("cores", [2, 8])
def test_images_are_shared_out(cores: int) -> None:
    processor = with_cores(cores)
    network, _ = lowered(9, cores, processor)
    found = spread(network, processor, optimise(network, processor))
    assert found.is_partitioned
    assert found.cycles[found.partition] < found.cycles[ONE_CORE]
    assert len({engine_of_queue(name)[1] for name in found.parallel.queues}) > 1
    if cores == 2:
        again = spread(network, processor, optimise(network, processor))
        assert (again.parallel, again.cycles) == (found.parallel, found.cycles)


def test_no_token_of_several_cores_can_be_left_out() -> None:
    """The least tokens: without any one of them the checker finds a race.

    Rows of a map are not shared between engines here: dependences between regions of unlike layouts are found by their
    ends, so that what lies between the rows of one engine's part may get a token too many (never one too few).
    """
    processor, whole = with_cores(3), frozenset({"sharing"})
    network, _ = lowered(9, 3, processor)
    found = spread(network, processor, optimise(network, processor, whole), whole)
    assert found.is_partitioned
    queues = found.parallel.queues
    tokens = sorted({token for steps in queues.values() for step in steps for token in step.signals})
    for token in tokens[:: max(1, len(tokens) // 30)]:
        fewer = {
            name: tuple(
                Step(
                    step.command,
                    tuple(other for other in step.waits if other != token),
                    tuple(other for other in step.signals if other != token),
                )
                for step in steps
            )
            for name, steps in queues.items()
        }
        broken = msgspec.structs.replace(found.parallel, queues=fewer)
        assert {finding.rule for finding in check_par_program(broken, processor, found.sequence)} == {"race"}


@pytest.mark.parametrize(("seed", "batch"), [(13, 1), (21, 3)])
def test_twice_the_cores_are_never_slower(seed: int, batch: int) -> None:
    network, _ = lowered(seed, batch, with_cores(1))
    one_core = optimise(network, with_cores(1))
    cycles = []
    for cores in (1, 2, 4, 8):
        found = spread(network, with_cores(cores), one_core)
        cycles.append(simulate_parallel(found.parallel, with_cores(cores)).cycles)
    assert cycles == sorted(cycles, reverse=True)
