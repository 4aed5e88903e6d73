"""Channels by number: which of them must live or die together, and which must live.

An atom is one index of one axis of one parameter or buffer, such as row 7 of a weight. Atoms that the network ties
together (the row of a convolution, the entries of the batch norm behind it, the column of the next layer) form a class:
either all of a class is cut or nothing of it. A class is kept as soon as one atom of it must not be cut.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Atoms:
    """Classes of atoms as a union-find structure that only grows."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._reason: dict[int, str] = {}

    def new(self, count: int) -> Ints:
        """`count` atoms, each a class of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, one: Ints, other: Ints) -> None:
        """Make classes of the pairs of two arrays of one shape."""
        for left, right in np.unique(np.stack([one.ravel(), other.ravel()], axis=1), axis=0).tolist():
            self._unite(left, right)

    def keep(self, atoms: Ints, reason: str) -> None:
        """These must not be cut, because of `reason`; the first reason given is the one that is told."""
        for atom in np.unique(atoms).tolist():
            self._reason.setdefault(self._root(atom), reason)

    def classes(self, atoms: Ints) -> Ints:
        """The class of each atom, as a number."""
        return np.array([self._root(atom) for atom in atoms.tolist()], np.int64)

    def reason(self, one_class: int) -> str | None:
        """Why a class must not be cut; None where it may be."""
        return self._reason.get(one_class)

    def _root(self, atom: int) -> int:
        while self._parent[atom] != atom:
            self._parent[atom] = self._parent[self._parent[atom]]
            atom = self._parent[atom]
        return atom

    def _unite(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        if one == other:
            return
        low, high = min(one, other), max(one, other)
        self._parent[high] = low
        if high in self._reason:
            self._reason.setdefault(low, self._reason.pop(high))
