"""Memory promised to workers that are loading, or that have it mapped: no two plans may count on the same."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from rbee_tui.engine.fitting.machine import Pool
from rbee_tui.engine.workers import ready
from rbee_tui.engine.workers.record import Running, living

_GPU_VARIANTS = frozenset({"cuda", "metal"})


def pool_of(variant: str) -> Pool:
    """The memory that workers of a variant take."""
    return "gpu" if variant in _GPU_VARIANTS else "host"


def promised(
    records: Iterable[Running], besides: str = "", is_starting: Callable[[str], bool] = lambda _: False
) -> dict[Pool, int]:
    """Bytes of each pool that living workers were promised and the system still counts as available.

    One that loads was promised all of it. A model's file is mapped, so that the system calls its pages
    available while the worker runs: a ready one is still promised what its processes have not of their own.
    What a GPU holds is counted by its driver once the worker is ready. The model `besides` is left out.
    Between the decision and its process a record alone is there: `is_starting` tells whether a start is on.
    """
    sums: dict[Pool, int] = {"gpu": 0, "host": 0}
    for record in records:
        if record.model == besides:
            continue
        found = living(record)
        if found is None and not (record.who is None and is_starting(record.model)):
            continue
        on_gpu = pool_of(record.variant) == "gpu"
        on_host = record.on_host if on_gpu else record.estimate
        if found is not None and found.ready_at and on_host:
            on_host = max(0, on_host - _taken(found))
        sums["host"] += on_host
        sums["gpu"] += record.estimate - record.on_host if on_gpu and not record.ready_at else 0
    return sums


def _taken(record: Running) -> int:
    """Bytes that a worker's processes have for themselves, which nothing counts as available any more."""
    return sum(map(_anonymous, ready.family(record.who.pid))) if record.who else 0


def _anonymous(pid: int) -> int:
    """Resident less shared pages, in bytes; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return max(0, int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
