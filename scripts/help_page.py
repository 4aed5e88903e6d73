"""conf/<script>.yaml -> what --help prints: the script's own keys with their comments, and the choices of its groups alone."""

import textwrap
from pathlib import Path

from omegaconf import OmegaConf

from nas.core.command import from_here, python_command

_COLUMNS = 110


def help_page(folder: Path, name: str, purpose: str) -> str:
    """The page of the script `name`, configured by `folder`/`name`.yaml."""
    root = folder / f"{name}.yaml"
    script = python_command(folder.parent / "scripts" / f"{name}.py")
    parts = [
        purpose,
        f"  {script} key=value ...",
        f"keys, with their defaults ({from_here(root)}):\n\n{_own_keys(root)}",
    ]
    groups = _groups(root)
    if groups:
        parts.append(f"choices, group=choice:\n\n{_choices(folder, groups)}")
        example = next(iter(groups))
        parts.append(
            f"What a choice sets is in {from_here(folder)}/GROUP/CHOICE.yaml, with comments; each key of it is one here, "
            f"too: {example}.KEY=value."
        )
    whole = f"All keys with your words in them: {script} --cfg job"
    return "\n\n".join([*parts, f"{whole}\nRead on: README.md, docs/. Of hydra itself, which composes: --hydra-help"])


def _own_keys(root: Path) -> str:
    """The lines of the file as they are but for the first, which names the script, and for the list of groups."""
    kept, in_defaults = [], False
    for line in root.read_text().splitlines()[1:]:
        in_defaults = line.startswith("defaults:") or (in_defaults and line.startswith(" "))
        if not in_defaults and line.strip():
            kept.append(line)
    return textwrap.indent("\n".join(kept), "  ")


def _groups(root: Path) -> dict[str, str]:
    """The groups of the file, and what it chooses of each."""
    defaults = OmegaConf.to_container(OmegaConf.load(root))["defaults"] if "defaults:" in root.read_text() else []  # type: ignore[call-overload,index]
    return {group: str(choice) for item in defaults if isinstance(item, dict) for group, choice in item.items()}


def _choices(folder: Path, groups: dict[str, str]) -> str:
    lines = []
    for group, chosen in groups.items():
        first = f"  {group}={'null' if chosen == 'None' else chosen}"
        others = ", ".join(sorted(path.stem for path in (folder / group).glob("*.yaml")))
        start = f"{first:<26}of "
        lines.append(textwrap.fill(others, _COLUMNS, initial_indent=start, subsequent_indent=" " * len(start)))
    return "\n".join(lines)
