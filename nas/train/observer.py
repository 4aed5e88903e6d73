"""Who watches a training: the terminal, TensorBoard, a search. Observers see, they never steer."""

from typing import Protocol


class Observer(Protocol):
    """What a training tells while it runs."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """A measured value, such as "validation/error", after `step` steps."""

    def progress(self, step: int, steps: int, images_per_s: float, eta_s: float, loss: float) -> None:
        """About once a second: `step` of `steps` are done, the mean loss since the last call was `loss`."""


class Observers:
    """Several observers as one; none at all is one that says nothing."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def scalar(self, name: str, value: float, step: int) -> None:
        for observer in self._observers:
            observer.scalar(name, value, step)

    def progress(self, step: int, steps: int, images_per_s: float, eta_s: float, loss: float) -> None:
        for observer in self._observers:
            observer.progress(step, steps, images_per_s, eta_s, loss)


class Prefixed:
    """Watches one of several trainings of a run: `observer` is told its scalars with `name` in front, so that curves stay apart."""

    def __init__(self, observer: Observer, name: str) -> None:
        self._observer, self._name = observer, name
        self.progress = observer.progress

    def scalar(self, name: str, value: float, step: int) -> None:
        self._observer.scalar(f"{self._name}/{name}", value, step)
