"""Several programs of one network -> the one that simulates fastest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.compiler.memo import Memo
from nas.compiler.parallel.trial import tried
from nas.hw.spec import Processor
from nas.ir.program import Program

Planned = tuple[Program, dict[str, NDArray[np.uint8]]]


def quickest(planned: Sequence[Planned], processor: Processor, memo: Memo) -> Planned:
    """The program, with the bytes of its constants, of the fewest cycles; the first of equals."""
    if len(planned) == 1:
        return planned[0]
    return min(planned, key=lambda each: tried(each[0], processor, memo).trace.cycles)
