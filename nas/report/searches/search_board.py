"""Records of a search -> TensorBoard: one run per trial with its scalars, its parameters and both metrics, and the front.

In the folder "tensorboard" of the search: `search/0007` is trial 7, `search/front` the front as an image and its hypervolume
after each training, `random/...` the same of the random networks to compare with. HPARAMS compares trials by error and
latency in a table, in parallel coordinates and in scatter plots.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType

from tensorboard.plugins.hparams import summary_v2 as api  # type: ignore[import-untyped] # `.api` needs TensorFlow
from torch.utils.tensorboard import SummaryWriter

from nas.report.searches.front_picture import front_figure
from nas.search.running.supervise import Progress
from nas.search.trials.objective import Reference
from nas.search.trials.pareto import hypervolume
from nas.search.trials.record import Record
from nas.search.trials.space import Space

BY_CHANCE = "random"  # the name of the board of the networks to compare with
METRICS = {"error": "validation error", "latency_us": "simulated latency, µs"}


class SearchBoard:
    """Watches a search (`nas.search.running.supervise.Watcher`) and writes each record once, also across resumes.

    folder: of all events; name: of this search among those that are compared; elsewhere: the keys of candidates that
    another board has written, for what was trained once is one run.
    """

    def __init__(self, folder: Path, name: str, elsewhere: Collection[str] = ()) -> None:
        self._folder, self._name, self._elsewhere = folder / name, name, elsewhere
        self._front: SummaryWriter | None = None
        self._space: Space | None = None

    def tick(self, progress: Progress, new: Sequence[Record]) -> None:
        """Write what is new."""
        evaluated = [record for record in new if record.point is not None]
        if not evaluated:
            return
        if self._front is None:
            self._front = SummaryWriter(str(self._folder / "front"))
        self._space = self._space or Space(progress.plan.space)
        for record in evaluated:
            if record.key in self._elsewhere:
                continue
            name = f"{self._name} {record.number:04d}"
            write_trial(self._folder / f"{record.number:04d}", name, record, self._space)
        points = [record.point for record in progress.records if record.point is not None]
        share = hypervolume(points, progress.plan.reference.point)
        self._front.add_scalar("front/hypervolume", share, progress.trained)
        found, others = ((), progress.records) if self._name == BY_CHANCE else (progress.records, ())
        write_front(self._front, found, others, progress.plan.reference, progress.trained)

    def __enter__(self) -> "SearchBoard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._front is not None:
            self._front.close()


def write_front(
    writer: SummaryWriter, records: Sequence[Record], others: Sequence[Record], reference: Reference, step: int
) -> None:
    """The picture of the front after `step` trainings; `others` are the random networks."""
    figure = front_figure(records, others, reference, f"after {step} trainings", size_inches=(5.4, 3.8))
    writer.add_figure("front", figure, step)
    writer.flush()


def write_trial(folder: Path, name: str, record: Record, space: Space) -> None:
    """One trial as a run of its own; nothing where it is already there."""
    if folder.exists() or record.point is None or record.cost is None:
        return
    error, latency_s = record.point
    metrics = {"error": error, "latency_us": latency_s * 1e6}
    active = space.active(record.params)
    params = {
        parameter.removeprefix("network."): value if isinstance(value, str | bool | int | float) else str(value)
        for parameter, value in record.params.items()
        if parameter in active
    }
    with SummaryWriter(str(folder)) as writer:
        events = writer._get_file_writer()
        declared = [api.Metric(metric, display_name=title) for metric, title in METRICS.items()]
        events.add_summary(api.hparams_config_pb([api.HParam(parameter) for parameter in params], declared))
        events.add_summary(api.hparams_pb(params, trial_id=name))
        for metric, value in metrics.items():
            writer.add_scalar(metric, value, record.number)
        for detail in ("energy_pj", "peak_sram_bytes", "dram_bytes", "parameters", "macs"):
            writer.add_scalar(f"more/{detail}", getattr(record.cost, detail), record.number)
        writer.add_scalar("more/seconds", sum(record.seconds.values()), record.number)
        for step, value in record.curve:
            writer.add_scalar("training/validation_error", value, step)
