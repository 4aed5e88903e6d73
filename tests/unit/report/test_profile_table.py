"""The table of a profile: every layer has a name in it."""

import io

import torch
from rich.console import Console
from torch import nn

from nas.compiler.driver import Compiled, compile_network
from nas.cost.profile import profile
from nas.hw.load import find_processor
from nas.report.programs.profile_table import print_profile


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
