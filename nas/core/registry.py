"""A named family of plug-ins. Each family has one registry and one contract test that every member passes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from nas.core.errors import ContractError, refuse_other

Member = TypeVar("Member")


class Registry(Mapping[str, Member], Generic[Member]):
    """Name -> member, in the order of registration; an unknown name is an `InputError` with the nearest known one."""

    def __init__(self, family: str) -> None:
        self.family = family
        self._members: dict[str, Member] = {}

    def add(self, name: str, member: Member) -> Member:
        """Register `member`; a name taken twice is a `ContractError`."""
        if name in self._members:
            raise ContractError(f"{self.family} {name!r} is registered twice")
        self._members[name] = member
        return member

    def register(self, name: str) -> Callable[[Member], Member]:
        """`add` as a decorator."""
        return lambda member: self.add(name, member)

    def __getitem__(self, name: str) -> Member:
        refuse_other(self.family, "", name, self._members)
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
