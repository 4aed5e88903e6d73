"""Trace -> the engines at work in it, in the order in which pictures and trace files show them; and the names of layers."""

from nas.ir.cores import MOST_CORES, SHARED_ENGINES, engine_of_queue, queue_name
from nas.sim.trace import Trace

_ENGINE_ORDER = ("dma_in", "matrix", "vector", "host", "dma_out")


def engine_rows(trace: Trace) -> list[str]:
    """The engines at work, core by core, in the order of the flow of data; unknown ones at the end."""
    seen = dict.fromkeys(span.engine for span in trace.spans)
    known = [name for core in range(MOST_CORES) for name in _core_engines(core) if name in seen]
    return known + [engine for engine in seen if engine not in known]


def core_and_engine(row: str) -> tuple[int | None, str]:
    """(core, engine) of a row; None for an engine that all cores share, and for what is no engine's."""
    engine, core = engine_of_queue(row)
    return (core, engine) if engine in _ENGINE_ORDER and engine not in SHARED_ENGINES else (None, row)


def _core_engines(core: int) -> list[str]:
    own = _ENGINE_ORDER if core == 0 else [engine for engine in _ENGINE_ORDER if engine not in SHARED_ENGINES]
    return [queue_name(engine, core) for engine in own]


def shown_layer(layer: str) -> str:
    """A network without modules in it is one layer, which has no path."""
    return layer or "(no layer)"
