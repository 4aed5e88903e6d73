"""Compacting: a lower peak at which no two buffers meet, and hardly anybody waits."""

import numpy as np
import pytest
import torchvision

from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.front_end.lower import network_of
from nas.compiler.memo import Memo
from nas.compiler.opt.memory.alloc import Allocation, lower_bound_bytes
from nas.compiler.opt.memory.arrange import arranged, compacted
from nas.compiler.opt.memory.compact import compact
from nas.compiler.opt.memory.prefetch import lifetimes
from nas.compiler.opt.pipeline import optimise
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.precision import Precision, network_in
from nas.hw.load import find_processor
from nas.ir.command import Command, Copy
from nas.ir.tensor import dense
from nas.sim.parallel import simulate_parallel
from tests.networks import RandomNetwork
from tests.processors import with_sram

SERVER_NPU = find_processor("server_npu")


def copies(*pairs):
    """Copies from one buffer to another; all have 64 bytes."""
    commands = [Command("vector", "l", (dense(a, 0, (64,), 8),), (dense(b, 0, (64,), 8),), Copy()) for a, b in pairs]
    return commands, dict.fromkeys((name for pair in pairs for name in pair), 64)


def live_at_most(commands, sizes):
    spans = lifetimes(commands, sizes)
    return max(sum(first <= now <= last for first, last in spans.values()) * 64 for now in range(len(commands)))


@pytest.mark.parametrize("seed", range(20))
def test_a_loose_packing_comes_down_to_what_lives_at_one_time(seed):
    generator = np.random.default_rng(seed)
    pairs = [(f"b{a}", f"b{a + int(step)}") for a, step in enumerate(generator.integers(1, 4, 12))]
    commands, sizes = copies(*pairs)
    loose = Allocation({name: 64 * place for place, name in enumerate(sizes)}, 64 * len(sizes))
    dense_one = compact(commands, sizes, loose, 1 << 16)
    bound = lower_bound_bytes(lifetimes(commands, sizes), sizes)
    # Intervals of one size always pack without a gap.
    assert dense_one.peak_bytes == bound == live_at_most(commands, sizes)
    spans = lifetimes(commands, sizes)
    for one, (first, last) in spans.items():
        for other, (begins, ends) in spans.items():
            if one < other and first <= ends and begins <= last:
                assert dense_one.offsets[one] != dense_one.offsets[other]
    assert all(0 <= offset <= bound - 64 and offset % 64 == 0 for offset in dense_one.offsets.values())


def test_what_is_close_already_stays_and_what_sticks_out_alone_moves():
    commands, sizes = copies(("a", "b"), ("b", "c"), ("c", "d"))
    close = Allocation({"a": 0, "b": 64, "c": 0, "d": 64}, 128)
    assert compact(commands, sizes, close, 1 << 16) is close
    out = Allocation({"a": 0, "b": 64, "c": 0, "d": 640}, 704)
    assert compact(commands, sizes, out, 1 << 16).offsets == close.offsets


def test_a_large_sram_is_no_reason_to_use_much_of_it():
    for seed in range(6):
        network = network_of(RandomNetwork(np.random.default_rng(seed)), ((1, 3, 16, 16),))
        programs = [optimise(network, SERVER_NPU, frozenset(off))[0] for off in ((), ("compact",))]
        for program in programs:
            raise_findings(check_program(program, SERVER_NPU), program.name)
        assert programs[0].used_bytes["sram"] <= programs[1].used_bytes["sram"]
        cycles = [simulate_parallel(parallelise(each), SERVER_NPU).cycles for each in programs]
        assert cycles[0] <= cycles[1] * 1.02


def test_who_is_quicker_at_loose_addresses_keeps_them():
    network = torchvision.models.squeezenet1_1().eval().to("meta")
    processor = with_sram(4096)
    network = network_in(network, (1, 3, 224, 224), processor, Precision("int8"))
    programs = [optimise(network, processor, frozenset(off))[0] for off in ((), ("compact",))]
    kept, never = (simulate_parallel(parallelise(program), processor).cycles for program in programs)
    assert kept <= never * 1.01
    found = arranged(*copies(("a", "b"), ("b", "c"), ("c", "d")), processor, frozenset())
    assert compacted(found, processor, frozenset(["compact"]), Memo()) is found
    assert compacted(found, processor, frozenset(), Memo()).peak_bytes <= found.peak_bytes
