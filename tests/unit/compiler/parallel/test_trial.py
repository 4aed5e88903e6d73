"""A trial is what parallelising and simulating give, whoever asked for the same commands before."""

import msgspec
import torch
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.compiler.memo import Memo
from nas.compiler.parallel import trial
from nas.compiler.parallel.pipeline import parallelise
from nas.compiler.parallel.trial import tried
from nas.hw.load import find_processor
from nas.sim.parallel import simulate_parallel

PROCESSORS = [find_processor("edge_npu"), find_processor("micro_npu")]


def program(channels):
    torch.manual_seed(0)
    found = compile_network(nn.Conv2d(3, channels, 3).eval(), (1, 3, 9, 9), PROCESSORS[0])
    assert isinstance(found, Compiled)
    return found.optimised


def test_remembered_or_not_it_is_the_same(monkeypatch):
    one, other = program(4), program(5)
    memo, worked, work = Memo(), [], trial.commands_tried
    monkeypatch.setattr(trial, "commands_tried", lambda *asked: worked.append(1) or work(*asked))
    renamed = msgspec.structs.replace(one, name="another")
    for each in (one, other, renamed, one):
        for processor in PROCESSORS:
            found = tried(each, processor, memo)
            assert found.parallel == parallelise(each)
            assert found.trace == simulate_parallel(parallelise(each), processor)
    assert len(worked) == 4  # two programs, on two processors


def test_only_the_last_few_are_kept():
    memo, worked = Memo(), []

    def double(number):
        worked.append(number)
        return 2 * number

    assert [memo.lately(double, number) for number in (*range(20), 19, 0)] == [*range(0, 40, 2), 38, 0]
    assert worked == [*range(20), 0]


def test_another_function_of_the_same_is_another_answer():
    memo = Memo()
    assert (memo.lately(abs, -3), memo.lately(str, -3)) == (3, "-3")
