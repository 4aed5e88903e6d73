"""The order that a parallel program leaves open: queues run in order, tokens hold a step back until another has ended."""

from collections.abc import Mapping, Sequence

from nas.core.errors import ContractError
from nas.ir.par_program import Step

_SHOWN = 8


class Tokens:
    """Which step of each queue is next, and which tokens have been signalled."""

    def __init__(self, queues: Mapping[str, Sequence[Step]]) -> None:
        self._queues = queues
        self._next = dict.fromkeys(queues, 0)
        self._signalled: set[int] = set()

    def ready_queues(self) -> list[str]:
        """The queues whose next step has all that it waits for, in the program's order."""
        return [engine for engine in self._queues if (step := self._head(engine)) and self._is_ready(step)]

    def take(self, engine: str) -> Step:
        """The next step of a queue, which is now behind it."""
        step = self._queues[engine][self._next[engine]]
        self._next[engine] += 1
        return step

    def signal(self, step: Step) -> None:
        """The step has ended."""
        self._signalled.update(step.signals)

    def deadlock(self) -> ContractError:
        """An error that names the steps at the head of their queues and the tokens that never come."""
        return deadlock_error(self._queues, self._next, self._signalled)

    def _head(self, engine: str) -> Step | None:
        queue, index = self._queues[engine], self._next[engine]
        return queue[index] if index < len(queue) else None

    def _is_ready(self, step: Step) -> bool:
        return self._signalled.issuperset(step.waits)


def deadlock_error(
    queues: Mapping[str, Sequence[Step]], heads: Mapping[str, int], signalled: set[int]
) -> ContractError:
    """The error for a program of which nothing more can run."""
    blocked = []
    for engine, queue in queues.items():
        index = heads[engine]
        if index < len(queue):
            step = queue[index]
            missing = ", ".join(str(token) for token in step.waits if token not in signalled)
            blocked.append(f"{engine}[{index}] ({step.command.op} of {step.command.layer}) waits for {missing}")
    more = f" and {len(blocked) - _SHOWN} more" if len(blocked) > _SHOWN else ""
    return ContractError(f"deadlock: {'; '.join(blocked[:_SHOWN])}{more}")
