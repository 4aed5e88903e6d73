"""The choices of a training under the quota, as one frozen value: conf/quota says what each costs."""

from typing import Literal

import msgspec

from nas.core.errors import InputError, refuse_other
from nas.quota.worth.importance import IMPORTANCES
from nas.quota.worth.price import PRICES


class QuotaConfig(msgspec.Struct, frozen=True):
    """share: of the price of the whole network that the final one may cost; price: the currency, see `nas.quota.worth.price`.

    align: widths are multiples of it, and draws take blocks of so many channels as balls. minimum: channels of every group;
    floor: no group falls below this share of its even width. begin, end: shares of the training between which the urn shrinks.
    adjust: who spreads the quota over the groups: "losses" of drawn sub-networks on pictures that are put aside,
    "channels" by the importance of each over its price (which wants taylor: sizes of different layers do not compare),
    "curves" of what each group's readers lose at each width, weighed by the losses of draws, "nobody". importance: which channels of a group come first.
    draw: which channels are drawn, the "best" (nested) or "random" ones; "mean": the mean widths are trained, and draws are
    for comparing only; "none": the whole urn is trained at each step.
    hold: steps that one draw lasts; pairs: of draws that are compared at an adjustment, None is two more than groups; with
    curves at most five, and 0 lets all groups weigh alike.
    hand_over: channels that leave the urn pass on to those that stay what their readers had of them, which also decides who
    goes first; without it the importance does. It asks for a network that is trained as a whole, as curves do: draw "none",
    or end 0, where the urn shrinks at once.
    try_out: with curves, where nothing is handed over: the share of the steps for which networks of the widths that were found, of
    those with half the floor, and of even ones are trained first; those that err least are taken, even ones only where it is by a
    standard error. 0 takes what was found.
    start: balls by group that the urn begins with; None is all channels.
    """

    share: float = 0.5
    price: str = "one"
    align: int = 1
    minimum: int = 2
    floor: float = 0.1
    begin: float = 0.0
    end: float = 0.5
    adjust: Literal["losses", "channels", "curves", "nobody"] = "losses"
    adjust_every: int = 10
    importance: str = "magnitude"
    memory: float = 0.95
    draw: Literal["best", "random", "mean", "none"] = "best"
    hold: int = 1
    pairs: int | None = None
    hand_over: bool = False
    try_out: float = 0.0
    start: dict[str, int] | None = None

    def __post_init__(self) -> None:
        refuse_other("quota", "price", self.price, PRICES)
        refuse_other("quota", "importance", self.importance, IMPORTANCES)
        if not 0 < self.share <= 1:
            raise InputError("quota", "share", "0 < share <= 1", self.share)
        if not 0 <= self.begin <= self.end <= 1:
            raise InputError("quota", "begin, end", "0 <= begin <= end <= 1", (self.begin, self.end))
        if not 0 <= self.floor < 1:
            raise InputError("quota", "floor", "0 <= floor < 1", self.floor)
        if not 0 <= self.try_out <= 1:
            raise InputError("quota", "try_out", "0 <= try_out <= 1", self.try_out)
        for name in ("align", "minimum", "adjust_every", "hold"):
            if getattr(self, name) < 1:
                raise InputError("quota", name, "at least 1", getattr(self, name))
        if self.pairs is not None and self.pairs < (0 if self.adjust == "curves" else 1):
            raise InputError("quota", "pairs", "at least 1, or none for two more than groups", self.pairs)
        if (self.hand_over or self.adjust == "curves") and self.draw != "none" and self.end:
            raise InputError("quota", "draw", "none where channels hand over or curves adjust, or end: 0", self.draw)
        if self.hand_over and self.adjust not in ("curves", "nobody"):
            raise InputError("quota", "adjust", "curves or nobody where channels hand over", self.adjust)
