"""What decides what a run comes to <-> settings.json of its folder, so that the folder goes on with the same values alone.

Checkpoints know how a network is trained; this is for what they do not see, such as which images it was trained on, and for runs
of several trainings, whose finished parts nobody opens again.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nas.core.artifact import read_json, write_json
from nas.core.errors import InputError

_FILE, _KIND, _VERSION = "settings.json", "run_settings", 1


def hold_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write `settings`, plain data by name, into `folder`, once: InputError for the first that is another than it was then.

    A folder without the file, of an earlier version, takes those of now.
    """
    path = folder / _FILE
    if not path.exists():
        write_json(path, settings, _KIND, _VERSION)
        return
    now = msgspec.json.decode(msgspec.json.encode(settings))  # as it is read from the file
    refuse_another_run(folder, read_json(path, dict[str, Any], _KIND, _VERSION), now)


def refuse_another_run(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """InputError for the first of the settings that is not what it was `before`, when the run in `folder` began."""
    then, present = dict(_flat(before)), dict(_flat(now))
    for name in {**then, **present}:
        if then.get(name) != present.get(name):
            hint = "the folder holds another run; choose another folder, or give the same values to resume"
            raise InputError(folder, name, repr(then.get(name)), repr(present.get(name)), hint)


def _flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Names as they are given to scripts: data.seed."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value
