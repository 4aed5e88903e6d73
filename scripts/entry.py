"""How every script starts: `@script("train", "Train one network.")` makes a function of one configuration a command.

The configuration is conf/<name>.yaml with the command line's overrides, composed by hydra, which does nothing else: no
change of folder, no logging, no files. What is wrong with the input is told in one line, with the near name where there
is one, and the exit status is 2; what is interrupted says how it goes on. A bug keeps its traceback.

Scripts are run as files (`python scripts/train.py`), so their own folder is on the path: `from entry import script`.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

try:
    import hydra
except ModuleNotFoundError as missing:
    what = f"error: {sys.executable} has no package {missing.name!r}: run `make install`,"
    print(what, "then use .venv/bin/python, or `source .venv/bin/activate` before", file=sys.stderr)
    sys.exit(2)

from help_page import help_page
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from override_check import refuse_unknown
from rich.console import Console
from rich.markup import escape

import conf
from nas.core.command import python_command
from nas.core.errors import CoevoError, ContractError, InputError

CONF = Path(str(conf.__file__)).resolve().parent
Main = Callable[[DictConfig], None]

# hydra composes; where things go, and what is printed, is the script's own business.
_QUIET = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.job.chdir=false",
)


def script(name: str, purpose: str) -> Callable[[Main], Callable[[], None]]:
    """Make `main(config)` the command `name`; `purpose` is the first line of its --help."""

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def command() -> None:
            arguments = get_args_parser().parse_args()
            if arguments.help:
                print(help_page(CONF, name, purpose))
                return
            if not arguments.hydra_help:
                try:
                    refuse_unknown(CONF, name, arguments.overrides)
                except InputError as error:
                    _fail(error)
            sys.argv += _QUIET
            guarded = _told_in_one_line(main, arguments.overrides)
            hydra.main(version_base=None, config_path=str(CONF), config_name=name)(guarded)()

        return command

    return decorate


@contextmanager
def input_of(where: str) -> Iterator[None]:
    """Errors of packages that do not know Coevo's own, such as `models`, become the user's to mend: "where: what they say"."""
    try:
        yield
    except OSError as error:
        raise InputError(where, "", "a file that can be read", f"{error.strerror} ({error.filename})") from error
    except ValueError as error:
        raise CoevoError(f"{where}: {error}") from error


def _told_in_one_line(main: Main, overrides: list[str]) -> Main:
    @functools.wraps(main)
    def guarded(config: DictConfig) -> None:
        try:
            main(config)
        except ContractError:
            raise
        except (CoevoError, OmegaConfBaseException) as error:
            _fail(error)
        except KeyboardInterrupt:
            again = python_command(sys.argv[0], *goes_on(config, overrides))
            Console(stderr=True, soft_wrap=True).print(
                f"interrupted; to go on:  {escape(again)}", style="yellow", highlight=False
            )
            sys.exit(130)

    return guarded


def goes_on(config: DictConfig, overrides: list[str]) -> list[str]:
    """The overrides that go on with what these began: in the same folder, which by default has the time in its name."""
    if config.get("resume") or any(word.startswith("folder=") for word in overrides):
        return overrides
    return [*overrides, f"folder={config.folder}"]


def _fail(error: Exception) -> NoReturn:
    line = " ".join(str(error).split())
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(line)}", highlight=False)
    sys.exit(2)
