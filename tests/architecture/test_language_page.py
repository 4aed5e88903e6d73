"""docs/language.md shows the language as the code defines it, and its assembly is real."""

import inspect
import re
from pathlib import Path

from nas.ir import command, par_program, tensor
from nas.ir.text import program_from_text, program_to_text

PAGE = (Path(__file__).resolve().parents[2] / "docs/language.md").read_text(encoding="utf-8")


def test_the_page_is_the_docstrings() -> None:
    for text in (command.__doc__, tensor.__doc__, tensor.Format.__doc__, par_program.__doc__):
        assert text is not None
        assert f"```\n{inspect.cleandoc(text)}\n```" in PAGE, "copy the docstring that changed into docs/language.md"


def test_the_assembly_of_the_page_reads_back() -> None:
    (text,) = re.findall(r"```\n(program .*?)```", PAGE, re.DOTALL)
    assert program_to_text(program_from_text(text)) == text
