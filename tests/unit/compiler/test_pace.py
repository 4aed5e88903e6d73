"""Leads that were guessed and did not come: a simulation shows them, and the program that is planned by what was seen is quicker."""

import torch
from torch import nn
from torchvision.models import get_model

from nas.check.rule import raise_findings
from nas.check.sequential import check_program
from nas.compiler.memo import Memo
from nas.compiler.network import Network
from nas.compiler.opt.draft import draft_of
from nas.compiler.opt.pipeline import PASSES, optimise
from nas.compiler.opt.plan.pace import guessed_leads, seen_leads
from nas.compiler.opt.plan.settle import Layouts, Settled, settle
from nas.compiler.parallel.trial import tried
from nas.compiler.passes import run_passes
from nas.compiler.precision import network_to_price
from nas.hw.spec import Processor
from tests.processors import EDGE_NPU, with_sram


def widened(blocks: int = 3) -> nn.Module:
    """Wide 1x1 convolutions, each before a depthwise 7x7: where the SRAM is full, the second one's result has to wait for the
    first one's weights.
    """
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 128, 1)]
    for _ in range(blocks):
        layers += [nn.Conv2d(128, 256, 1), nn.Conv2d(256, 256, 7, padding=3, groups=256), nn.Conv2d(256, 128, 1)]
    return nn.Sequential(*layers).eval()


def passed(module: nn.Module, size_px: int, processor: Processor) -> Network:
    return run_passes(PASSES, network_to_price(module, (1, 3, size_px, size_px), processor, "int8"), processor)


def planned(network: Network, processor: Processor) -> Settled:
    return settle(Layouts(network, processor, frozenset()), processor.sram.size_bytes, Memo())[0]


def leads_of(plan: Settled, processor: Processor) -> tuple[dict[int, int], int]:
    """What was seen, and the cycles of the program."""
    memo = Memo()
    program = draft_of(plan, processor, frozenset(), memo).program
    trace = tried(program, processor, memo).trace
    guessed = guessed_leads(plan.layout, plan.residency.on_chip, processor, memo)
    return seen_leads([lead for lead in guessed if lead.can_share], trace), trace.cycles


def test_where_the_leads_come_as_guessed_nothing_is_planned_anew() -> None:
    module = get_model("mobilenet_v3_small", weights=None).eval().to("meta")
    assert leads_of(planned(passed(module, 224, EDGE_NPU), EDGE_NPU), EDGE_NPU)[0] == {}


def test_what_had_to_wait_is_seen_and_planned_anew() -> None:
    tight = with_sram(448)
    network = passed(widened(), 28, tight)
    plan = planned(network, tight)
    seen, before = leads_of(plan, tight)
    assert seen
    memo = Memo()
    program = draft_of(plan, tight, frozenset(), memo, seen).program
    raise_findings(check_program(program, tight), "planned anew")
    after = tried(program, tight, memo).trace.cycles
    assert after < 0.95 * before
    best, _ = optimise(network, tight)
    assert tried(best, tight, memo).trace.cycles <= after
