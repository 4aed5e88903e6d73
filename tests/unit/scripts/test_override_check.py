"""Mistakes on the command line of scripts/train.py, and what is said about them."""

import sys
from pathlib import Path

import pytest

from nas.core.errors import InputError

SCRIPTS = Path(__file__).parents[3] / "scripts"
CONF = SCRIPTS.parent / "conf"


@pytest.fixture
def refuse_unknown(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """scripts/ is no package: running one puts its folder on the path, and so do we."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "override_check", raising=False)
    from override_check import refuse_unknown  # noqa: PLC0415

    return lambda *arguments: refuse_unknown(CONF, "train", list(arguments))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("trainer.epoch=3", "did you mean 'trainer.epochs'?"),
        ("epochs=3", "did you mean 'trainer.epochs'?"),
        ("modle=svhn_net", "did you mean 'model'?"),
        ("model=svhn_nett", "model: expected a known choice, got 'svhn_nett' .did you mean 'svhn_net'?"),
        ("data.augment.shift=3", "did you mean 'data.augment.shift_px'?"),
        ("zzzz=1", "known: arch_file, data, "),
        ("+zzzz=1", "expected a known key, got 'zzzz'"),
        ("trainer.epochs", "missing EQUAL"),
        ("trainer.epochs=1,2", "Ambiguous value"),
    ],
)
def test_a_mistake_gets_the_near_name(refuse_unknown, argument: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        refuse_unknown("trainer.batch_size=16", argument)


def test_a_key_of_another_choice_is_unknown(refuse_unknown) -> None:  # type: ignore[no-untyped-def]
    refuse_unknown("model=searchable", "model.stem_width=8")
    with pytest.raises(InputError, match=r"'model\.stem_width'"):
        refuse_unknown("model=svhn_net", "model.stem_width=8")


def test_good_overrides_pass(refuse_unknown) -> None:  # type: ignore[no-untyped-def]
    refuse_unknown()
    refuse_unknown("model=searchable", "data=svhn", "trainer.epochs=0.5", "folder=here", "+trainer.augment=null")
