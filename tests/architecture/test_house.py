"""The rules of the house that no linter knows; CONTRIBUTING.md says them in words."""

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"nas", "models", "conf", "scripts", "tests", "docs"}
FILES = {
    "pyproject.toml",
    "Makefile",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
}
# What a checkout gathers in use: .gitignore knows it, and so does nobody else.
GATHERED = {"runs", "build", "dist", "outputs", "__pycache__"}
MOST_LINES = 400
REGISTRIES = {"models/__init__.py"}
# Whole processes and forked generators: the only places where torch's own generator may be seeded.
SEEDED = {
    "models/__init__.py": "inside fork_rng, around the making of one network",
    "nas/train/state/random_state.py": "a run owns its process, and its checkpoints keep the generator's state",
    "nas/compiler/front_end/__main__.py": "a command owns its process",
    "scripts/networks.py": "so does a script; modules of the user's own draw their weights from torch's generator",
}
GENERATORS = {"Generator", "SeedSequence", "default_rng", "BitGenerator", "PCG64", "Philox"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def dotted(node: ast.expr) -> str:
    """a.b.c of an attribute or a name, else ""."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def relative_imports(tree: ast.AST) -> list[str]:
    return [
        f"line {node.lineno}: relative import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def global_randomness(tree: ast.AST) -> list[str]:
    """Uses of the generators that all code of a process shares."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            parts = name.split(".")
            if name.startswith(("np.random.", "numpy.random.")) and len(parts) == 3 and parts[2] not in GENERATORS:
                found.append(f"line {node.lineno}: {name}")
            if name in ("torch.manual_seed", "torch.random.manual_seed", "torch.seed", "torch.cuda.manual_seed_all"):
                found.append(f"line {node.lineno}: {name}")
    return found + ["import random" for module in imported(tree) if module == "random"]


def unpickling(tree: ast.AST) -> list[str]:
    """Ways in which a file could run code when it is read."""
    found = [f"import {module}" for module in imported(tree) if module.split(".")[0] in UNPICKLERS]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: word.value for word in node.keywords}
        weights_only = given.get("weights_only")
        is_safe = isinstance(weights_only, ast.Constant) and weights_only.value is True
        if dotted(node.func) == "torch.load" and not is_safe:
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        pickled = given.get("allow_pickle")
        if pickled is not None and not (isinstance(pickled, ast.Constant) and pickled.value is False):
            found.append(f"line {node.lineno}: allow_pickle")
    return found


def test_the_top_level_holds_the_house_and_nothing_else() -> None:
    there = {path for path in ROOT.iterdir() if not path.name.startswith(".")}
    there = {path for path in there if path.name not in GATHERED and path.suffix != ".egg-info"}
    assert {path.name for path in there if path.is_dir()} == FOLDERS
    assert {path.name for path in there if path.is_file()} <= FILES


def test_files_are_short_enough_to_be_read() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files(*FOLDERS)}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_packages_have_empty_fronts() -> None:
    full = {
        name_of(path) for path in files("nas", "models", "conf") if path.name == "__init__.py" and path.stat().st_size
    }
    assert full <= REGISTRIES
    assert [name_of(path) for path in files("tests", "scripts") if path.name == "__init__.py"] == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in files("nas", "models")}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_files_are_named_for_what_they_do() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert [name_of(path) for path in files(*FOLDERS) if vague & {path.stem, *path.relative_to(ROOT).parts}] == []


def test_files_say_what_they_are() -> None:
    silent = [
        path
        for path in files("nas", "models", "scripts")
        if path.stat().st_size and not ast.get_docstring(tree_of(path))
    ]
    assert [name_of(path) for path in silent] == []


@pytest.mark.parametrize(
    ("rule", "folders", "allowed"),
    [
        (relative_imports, tuple(FOLDERS), {}),
        (global_randomness, ("nas", "models", "scripts", "conf"), SEEDED),
        (unpickling, tuple(FOLDERS), {}),
    ],
)
def test_no_file_breaks(
    rule: Callable[[ast.AST], list[str]], folders: tuple[str, ...], allowed: dict[str, str]
) -> None:
    found = {name_of(path): rule(tree_of(path)) for path in files(*folders)}
    assert {name: places for name, places in found.items() if places and name not in allowed} == {}


@pytest.mark.parametrize(
    ("rule", "text", "count"),
    [
        (relative_imports, "from . import errors\nfrom nas.core import errors", 1),
        (global_randomness, "import random\nnp.random.seed(1)\nnp.random.default_rng(1)\ntorch.manual_seed(1)", 3),
        (global_randomness, "def draw(generator: np.random.Generator): return generator.random()", 0),
        (unpickling, "import pickle\ntorch.load(path)\ntorch.load(path, weights_only=False)", 3),
        (unpickling, "torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)", 0),
        (unpickling, "np.load(path, allow_pickle=True)", 1),
    ],
)
def test_the_rules_can_be_broken(rule: Callable[[ast.AST], list[str]], text: str, count: int) -> None:
    assert len(rule(ast.parse(text))) == count


def test_the_arrows_of_the_contracts_are_those_of_the_page() -> None:
    """docs/architecture.md lists what each room may import; pyproject.toml makes import-linter hold it."""
    rows = re.findall(r"^\| `nas\.(\w+)` \| ([\w, ]+) \|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    page = {room: set() if may == "nothing of ours" else set(may.split(", ")) for room, may in rows}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held: dict[str, set[str]] = {}
    for contract in contracts:
        if contract["type"] == "forbidden" and contract["forbidden_modules"] == ["nas.*"]:
            (source,) = contract["source_modules"]
            allowed = [
                re.fullmatch(rf"{source}\.\*\* -> nas\.(\w+)\.\*\*", arrow)
                for arrow in contract.get("ignore_imports", [])
            ]
            held[source.removeprefix("nas.")] = {match[1] for match in allowed if match}
            assert all(allowed), contract["name"]
    rooms = {path.name for path in (ROOT / "nas").iterdir() if (path / "__init__.py").exists()}
    assert set(held) == rooms, "every room of nas has a contract in pyproject.toml"
    assert {room: page.get(room) for room in rooms} == held, "docs/architecture.md and pyproject.toml agree"
