"""What is said of a word that is none of the choices, wherever it stands."""

from typing import Annotated, Literal

import msgspec
import pytest

from nas.core.config import from_config
from nas.core.errors import InputError
from nas.core.registry import Registry

Kind = Literal["losses", "channels", "nobody"]


class Inner(msgspec.Struct):
    adjust: Kind = "losses"
    layout: bool | Literal["auto"] = "auto"


class Outer(msgspec.Struct):
    one: Inner | None = None
    several: tuple[Inner, ...] = ()
    named: dict[str, Kind] = {}
    depth: Literal[18, 34] = 18
    limited: Annotated[list[Kind], msgspec.Meta(max_length=3)] = []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"one": {"adjust": "lossess"}}, "one.adjust: expected channels, losses or nobody, got 'lossess' (did you mean 'losses'?)"),
        ({"several": [{}, {"adjust": "x"}]}, "several[1].adjust: expected channels, losses or nobody, got 'x'"),
        ({"named": {"a": "x"}}, "expected channels, losses or nobody, got 'x'"),
        ({"limited": ["x"]}, "limited[0]: expected channels, losses or nobody, got 'x'"),
        ({"depth": 50}, "depth: expected 18 or 34, got 50"),
        ({"one": {"layout": "aut"}}, "one.layout: expected auto, true or false, got 'aut' (did you mean 'auto'?)"),
    ],
)  # fmt: skip
def test_the_choices_are_told_and_the_near_one(config, message) -> None:
    with pytest.raises(InputError) as caught:
        from_config(config, Outer, "quota")
    assert message in str(caught.value)
    assert str(caught.value).startswith("quota: ")


def test_a_family_of_plug_ins_tells_its_members() -> None:
    family: Registry[int] = Registry("sampler")
    family.add("tpe", 1)
    family.add("random", 2)
    with pytest.raises(InputError, match=r"sampler: expected tpe or random, got 'randon' \(did you mean 'random'\?\)"):
        family["randon"]
