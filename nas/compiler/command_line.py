"""What the three stages' commands share: the processor's option, and errors told in one line."""

import argparse
import sys
from collections.abc import Callable

from nas.core.errors import CoevoError, DoesNotFit


def stage_parser(module: str, purpose: str) -> argparse.ArgumentParser:
    """A parser with the options that every stage has."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=purpose)
    parser.add_argument("--hardware", default="", help="a processor of conf/hardware, or the path of such a file")
    return parser


def run_stage(stage: Callable[[], str]) -> None:
    """Run `stage` and print what it says; an error of the input is one line, and exit status 2 (3: it does not fit)."""
    try:
        print(stage())
    except DoesNotFit as error:
        print(f"does not fit: {error.violation}", file=sys.stderr)
        sys.exit(3)
    except CoevoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
