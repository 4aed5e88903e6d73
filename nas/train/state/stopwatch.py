"""How long a run takes, over all its sessions: by the clock on the wall, and of the processor.

The second is that of all threads of this process, and hardly grows when others use the machine.
"""

import time
from dataclasses import dataclass


@dataclass
class Stopwatch:
    """seconds, processor_s: up to the last `lap`."""

    seconds: float = 0.0
    processor_s: float = 0.0

    def __post_init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def lap(self) -> None:
        """Add what has passed since the last lap, or since the watch was made."""
        wall, processor = time.perf_counter(), time.process_time()
        self.seconds += wall - self._wall
        self.processor_s += processor - self._processor
        self._wall, self._processor = wall, processor
