"""A log file shows how far each training is, also those that follow a longer one."""

import io

from rich.console import Console

from nas.report.terminal import TerminalObserver


def test_each_of_several_trainings_leaves_lines_in_a_log() -> None:
    text = io.StringIO()
    observer = TerminalObserver(Console(file=text, width=120))
    with observer:
        for steps in (1000, 60, 60):
            for step in (steps // 3, steps // 2, steps):
                observer.progress(step, steps, 100.0, 1.0, 2.0)
    assert [line.split("  loss")[0].split()[1:] for line in text.getvalue().splitlines()] == [
        [str(step), "of", str(steps)] for steps in (1000, 60, 60) for step in (steps // 3, steps // 2, steps)
    ]
