"""Commands that work as they are printed: run by this Python, whether or not its environment is active, from this folder."""

import shlex
import sys
from pathlib import Path


def python_command(script: Path | str, *words: str) -> str:
    """A line for a shell, such as ".venv/bin/python scripts/train.py model=resnet"."""
    return shlex.join([from_here(Path(sys.executable)), from_here(Path(script)), *words])


def from_here(path: Path) -> str:
    """Relative to the working directory where `path` lies in it. Links stay: an environment's Python is one."""
    whole = Path.cwd() / path
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)
