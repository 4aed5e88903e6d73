"""What people read of a compiled network: every layer has a name, and has it as it is."""

import io
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.cost.explain import explain
from nas.cost.profile import profile
from nas.hw.load import find_processor
from nas.report.programs.explain_table import print_explanation
from nas.report.programs.profile_table import print_profile
from nas.report.programs.timeline import draw_timeline


class _Alone(nn.Module):
    """A network without modules in it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, 1)


def test_what_belongs_to_no_module_is_named_as_in_the_timeline() -> None:
    compiled = compile_network(_Alone(), (1, 3, 8, 8), find_processor("edge_npu"))
    assert isinstance(compiled, Compiled)
    text = io.StringIO()
    print_profile(profile(compiled, 0)[0], Console(file=text, width=160))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert any(line.startswith("(no layer)") for line in lines)
    assert lines[-1] == "no engine knows these, so the host computes them: (no layer)"


class _Named(nn.Module):
    """Parts whose names are neither styles nor formulas, though they look so."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {"$a_$": nn.Conv2d(3, 4, 3), "b[red]": nn.Conv2d(4, 4, 1), "c[/x]": nn.Conv2d(4, 4, 1)}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts.values():
            x = part(x)
        return x


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    compiled = compile_network(_Named().eval(), (1, 3, 8, 8), find_processor("edge_npu"))
    assert isinstance(compiled, Compiled)
    found, trace = profile(compiled, 0)
    text = io.StringIO()
    console = Console(file=text, width=160)
    print_profile(found, console)
    for name in ("parts.b[red]", "parts.c[/x]"):
        print_explanation(explain(compiled, name), console)
        assert text.getvalue().count(name) >= 2, name
    draw_timeline(trace, tmp_path / "timeline.png")
