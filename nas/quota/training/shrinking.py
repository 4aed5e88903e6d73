"""How the urn shrinks, from all channels to the quota."""

import math
from typing import NamedTuple


class Schedule(NamedTuple):
    """Not before `begin`, done at `end` (shares of the training)."""

    begin: float = 0.1
    end: float = 0.6

    def total(self, channels: int, quota: int, progress: float) -> int:
        """M, the balls at this share of the training: along half a cosine, so that it starts and ends gently."""
        share = min(1.0, max(0.0, (progress - self.begin) / max(self.end - self.begin, 1e-9)))
        return quota + math.ceil((channels - quota) * 0.5 * (1 + math.cos(math.pi * share)) - 1e-9)
