"""Records of a search -> TensorBoard: one run per trial with its scalars, its parameters and both metrics, and the front.

In the folder "tensorboard" of the search: `front/` has the front as an image and the hypervolume over time, `0007/` is trial 7.
HPARAMS then compares trials by error and latency, in a table, in parallel coordinates and in scatter plots.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.plugins.hparams import summary_v2 as api  # type: ignore[import-untyped] # `.api` needs TensorFlow
from torch.utils.tensorboard import SummaryWriter

from nas.report.front_picture import front_figure
from nas.search.pareto import hypervolume
from nas.search.record import Record
from nas.search.space import Space
from nas.search.supervise import Progress

METRICS = {"error": "validation error", "latency_us": "simulated latency, µs"}


class SearchBoard:
    """Watches a search (`nas.search.supervise.Watcher`) and writes each record once, also across resumes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tensorboard"
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
            write_trial(self._folder / f"{record.number:04d}", record, self._space)
        self._write_front(self._front, progress)

    def _write_front(self, writer: SummaryWriter, progress: Progress) -> None:
        points = [record.point for record in progress.records if record.point is not None]
        writer.add_scalar("front/hypervolume", hypervolume(points, progress.plan.reference.point), progress.trained)
        figure = front_figure(progress.records, title=f"after {progress.trained} trainings")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        writer.add_image("front", np.asarray(canvas.buffer_rgba())[..., :3], progress.trained, dataformats="HWC")
        writer.flush()

    def __enter__(self) -> "SearchBoard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._front is not None:
            self._front.close()


def write_trial(folder: Path, record: Record, space: Space) -> None:
    """One trial as a run of its own; nothing where it is already there."""
    if folder.exists() or record.point is None or record.cost is None:
        return
    error, latency_s = record.point
    metrics = {"error": error, "latency_us": latency_s * 1e6}
    active = space.active(record.params)
    params = {
        name.removeprefix("network."): value if isinstance(value, str | bool | int | float) else str(value)
        for name, value in record.params.items()
        if name in active
    }
    with SummaryWriter(str(folder)) as writer:
        events = writer._get_file_writer()
        declared = [api.Metric(name, display_name=title) for name, title in METRICS.items()]
        choices = [api.HParam(name) for name in params]
        events.add_summary(api.hparams_config_pb(choices, declared))
        events.add_summary(api.hparams_pb(params, trial_id=record.key))
        for name, value in metrics.items():
            writer.add_scalar(name, value, record.number)
        for name in ("energy_pj", "peak_sram_bytes", "dram_bytes", "parameters", "macs"):
            writer.add_scalar(f"cost/{name}", getattr(record.cost, name), record.number)
        writer.add_scalar("seconds", sum(record.seconds.values()), record.number)
        for step, value in record.curve:
            writer.add_scalar("training/validation_error", value, step)
