"""Command-line overrides -> an `InputError` with the near name for the first that the configuration does not know."""

import difflib
from collections.abc import Iterable
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.core.errors import InputError

_WHERE = "command line"


def refuse_unknown(folder: Path, name: str, arguments: list[str]) -> None:
    """Compose `folder`/`name`.yaml with the overrides `arguments`; an `InputError` says which of them cannot be used."""
    with hydra.initialize_config_dir(str(folder), version_base=None):
        hydra.compose(name)  # without the user's overrides: an error here is ours, and keeps its traceback
        groups = _groups(folder)
        try:
            overrides = OverridesParser.create().parse_overrides(arguments)
            choices = [item for item in overrides if item.key_or_group in groups and isinstance(item.value(), str)]
            for item in choices:
                options = groups[item.key_or_group]
                if item.value() not in options:
                    raise InputError(_WHERE, item.key_or_group, "a known choice", _quoted(item.value(), options))
            chosen = hydra.compose(name, [str(item.input_line) for item in choices])
            known = _dotted_keys(OmegaConf.to_container(chosen))
            for item in overrides:
                if not _is_known(item, known, groups):
                    raise InputError(_WHERE, "", "a known key", _quoted(item.key_or_group, [*known, *groups]))
            hydra.compose(name, arguments)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(_WHERE, "", "overrides such as key=value", error) from error


def _is_known(item: Override, known: list[str], groups: Iterable[str]) -> bool:
    key = item.key_or_group
    if key in known or key in groups or key.startswith("hydra"):
        return True
    # +key=value adds a key on purpose; inside a known group the reader of that group decides.
    return item.is_add() and key.split(".")[0] in known and "." in key


def _quoted(key: object, known: list[str]) -> str:
    """The unknown `key` and a known one: with the same last part, or one that looks alike."""
    text, by_last_part = str(key), {name.rpartition(".")[2]: name for name in reversed(known)}
    last = text.rpartition(".")[2]
    near = [by_last_part[last]] if last in by_last_part else difflib.get_close_matches(text, known, n=1)
    near = near or [by_last_part[part] for part in difflib.get_close_matches(last, by_last_part, n=1)]
    top = sorted({name.partition(".")[0] for name in known})
    return f"{text!r} (did you mean {near[0]!r}?)" if near else f"{text!r} (known: {', '.join(top)})"


def _dotted_keys(value: object, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return []
    keys: list[str] = []
    for key, inner in value.items():
        keys += [f"{prefix}{key}", *_dotted_keys(inner, f"{prefix}{key}.")]
    return keys


def _groups(folder: Path) -> dict[str, list[str]]:
    """The groups of `folder` and their choices."""
    loader = GlobalHydra.instance().config_loader()
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
    return {name: loader.get_group_options(name) for name in names}
