"""Mean widths -> the urn that is drawn from: in blocks of channels, so many balls of each group, with exactly these means.

A block is `align` channels: all that an engine does for one of them it does for the whole block. With align 1 a ball is a
channel. The last block of a group may be a partial one; means are exact but for those.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.quota.urn.draw import Draws, prepare
from nas.quota.urn.urn import Urn

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Blocks(NamedTuple):
    """Groups in blocks, arrays of shape (groups,). floor: of every group."""

    names: tuple[str, ...]
    align: int
    sizes: Ints
    blocks: Ints
    floor: Ints

    def channels(self, blocks: Ints) -> Ints:
        """Of so many blocks of each group, shape (..., groups)."""
        counted: Ints = np.minimum(blocks * self.align, self.sizes)
        return counted


def blocks_of(sizes: Mapping[str, int], align: int, floor: Mapping[str, int]) -> Blocks:
    """The groups of these `sizes` and floors, in channels."""
    counts = np.array(list(sizes.values()), np.int64)
    least = np.array([floor[name] for name in sizes], np.int64)
    return Blocks(tuple(sizes), align, counts, -(-counts // align), -(-least // align))


class Allotment(NamedTuple):
    """blocks; means: p_g in blocks, summing to a whole number K; balls: m_g, at least p_g."""

    blocks: Blocks
    means: Floats
    balls: Ints

    @property
    def quota(self) -> int:
        """K, in blocks."""
        return round(float(self.means.sum()))

    def draws(self, more: float = 0.0) -> Draws:
        """The draws of this quota, or of one that is larger by the share `more`, in proportion."""
        quota = min(int(self.balls.sum()), self.quota + (max(1, round(more * self.quota)) if more else 0))
        means = proportional(self.means, quota, self.blocks.floor, self.balls)
        blocks, balls, floor = (tuple(each.tolist()) for each in (self.blocks.blocks, self.balls, self.blocks.floor))
        return prepare(Urn(self.blocks.names, blocks, balls, floor, quota), means)

    def nearest(self) -> Ints:
        """The whole numbers nearest to the means that sum to the quota: of the largest remainders the first are rounded up."""
        counts = np.floor(self.means + 1e-9).astype(np.int64)
        up = np.argsort(-(self.means - counts), kind="stable")[: self.quota - int(counts.sum())]
        counts[up] += 1
        return counts

    def covariance(self) -> Floats:
        """K (M - K) / (M - 1) (diag(q) - q q'), q = p / K: of a plain urn with these means."""
        total, quota = int(self.balls.sum()), self.quota
        share = self.means / max(quota, 1)
        spread = quota * (total - quota) / max(total - 1, 1)
        found: Floats = spread * (np.diag(share) - np.outer(share, share))
        return found


def allot(blocks: Blocks, widths: Mapping[str, float], total: int) -> Allotment:
    """The urn of about `total` blocks for these mean widths, in channels; as whole blocks as the widths allow."""
    wanted = np.array([widths[name] for name in blocks.names]) / blocks.align
    quota = int(np.clip(np.floor(wanted.sum() + 1e-6), blocks.floor.sum(), blocks.blocks.sum()))
    means = proportional(wanted, quota, blocks.floor, blocks.blocks)
    ideal = proportional(means, max(total, quota), blocks.floor, blocks.blocks)
    balls = np.maximum(np.floor(ideal + 1e-9), np.ceil(means - 1e-6)).astype(np.int64)
    return Allotment(blocks, np.minimum(means, balls), balls)


def proportional(weights: Floats, total: int, low: Ints, high: Ints) -> Floats:
    """Numbers in proportion to `weights`, within `low` and `high`, that sum to `total` (or as near as these let them)."""
    goal = float(np.clip(total, low.sum(), high.sum()))
    least, most = 0.0, 1e9
    for _ in range(200):
        factor = np.sqrt(max(least, 1e-9) * most)
        least, most = (factor, most) if np.clip(weights * factor, low, high).sum() < goal else (least, factor)
    found: Floats = np.clip(weights * most, low, high).astype(float)
    free = (found > low) & (found < high)
    if free.any():
        found[free] += (goal - found.sum()) * found[free] / found[free].sum()
    return found
