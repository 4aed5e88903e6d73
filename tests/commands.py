"""Commands as users type them: in a process of their own, or inside this one, where only their start would be repeated.

A start takes some seconds, most of them for importing torch. So each script is started for real once, or as often as its process matters,
and what else it does is asked of it here.
"""

import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
Ended = subprocess.CompletedProcess[str]


def script(name: str) -> Path:
    return ROOT / "scripts" / f"{name}.py"


def in_a_process(name: str, *arguments: str, here: Path) -> Ended:
    """`python scripts/<name>.py arguments` in the folder `here`."""
    command = [sys.executable, str(script(name)), *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=280, check=False)


def inside(name: str, *arguments: str, here: Path) -> Ended:
    """The same without a process; a bug comes as the exception that it is."""
    path = str(script(name))
    return _run(lambda: runpy.run_path(path, run_name="__main__"), [path, *arguments], here, script(name).parent)


def module_inside(name: str, *arguments: str, here: Path) -> Ended:
    """`python -m name arguments` in the folder `here`, without a process."""
    return _run(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True), [name, *arguments], here, here)


def _run(command: Callable[[], object], argv: list[str], here: Path, first_on_path: Path) -> Ended:
    told, complained, status = StringIO(), StringIO(), 0
    before = sys.argv, list(sys.path), set(sys.modules)
    sys.argv = argv
    sys.path.insert(0, str(first_on_path))
    try:
        with chdir(here), redirect_stdout(told), redirect_stderr(complained):
            command()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv, sys.path[:] = before[0], before[1]
        for name in set(sys.modules) - before[2]:  # a user's module may be another one next time
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(here)):
                del sys.modules[name]
    return Ended(argv, status, told.getvalue(), complained.getvalue())
