"""One seed to many independent streams of random numbers, each with a name; nothing draws from a global generator.

The stream of a name depends on the seed and on the name alone, so a new consumer never shifts the numbers of another.
"""

import hashlib

import numpy as np


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names`, for libraries that take one integer (torch, Optuna)."""
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The numpy generator of the stream called `names`."""
    return np.random.default_rng(stream_seed(seed, *names))
