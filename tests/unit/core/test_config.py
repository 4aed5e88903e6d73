"""YAML files that nobody means: each is told in one error, at once."""

from pathlib import Path

import pytest

from nas.core.config import load_yaml
from nas.core.errors import InputError

BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))])
MANY = "100000 values at most, 64 deep"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 20_000, MANY),
        ("\n".join(" " * depth + "a:" for depth in range(3_000)), MANY),
        ("{a: " * 3_000 + "1" + "}" * 3_000, MANY),
        (BOMB, MANY),
        ("a: &a [*a]", "a value without itself in it"),
        ("a: *a", "undefined alias"),
        ("a: " + "9" * 5_000, "a readable YAML file"),
        ("a: [", "a readable YAML file"),
        ("a: ${b}", "a readable YAML file"),
        ("[1, 2]", "a mapping of keys"),
    ],
    ids=["lists", "lines", "maps", "aliases", "itself", "no anchor", "digits", "no end", "no key", "a list"],
)
def test_hostile_files_are_told_at_once(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)


def test_names_that_no_file_can_have() -> None:
    for name in ("\0.yaml", "no/such.yaml", "/"):
        with pytest.raises(InputError, match="a readable YAML file"):
            load_yaml(Path(name))


def test_aliases_stand_for_what_they_name(tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_text("a: &one {b: 1.0e3, c: [1, 2]}\nd: *one\ne: ${a.b}\n")
    value = {"b": 1000.0, "c": [1, 2]}
    assert load_yaml(path) == {"a": value, "d": value, "e": 1000.0}
