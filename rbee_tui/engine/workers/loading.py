"""How much of its model a worker has read while it loads: what of the mapped files is in its memory."""

import os
from collections.abc import Mapping
from pathlib import Path

from rbee_tui.engine.workers import ready
from rbee_tui.engine.workers.record import Running

_LEAST_BYTES = 1 << 20
"""Of a mapped file that may be a model: locales and such are smaller."""
_HEAD = 6


def share(record: Running) -> float | None:
    """The share of the model's bytes that a worker has read so far, 0 to 1; None where nothing tells it.

    At 1 it still sets itself up: it may copy weights into another order, or to a GPU, and tries them once.
    None where it does not load, where the model is not mapped (yet, any more, or at all), and where there is
    no `/proc`. The program's own files count as well: some 20 MB, more with libraries of a GPU.
    """
    if record.ready_at or record.who is None or not record.weights:
        return None
    found = (_of_process(pid, record.weights) for pid in ready.family(record.who.pid)[1:])
    return max((each for each in found if each is not None), default=None)


def _of_process(pid: int, weights: int) -> float | None:
    try:
        mapped = mapped_in(Path(f"/proc/{pid}/maps").read_text(errors="replace"))
        sizes = {path: Path(path).stat().st_size for path in mapped}
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
    return share_of(mapped, sizes, resident, weights)


def mapped_in(maps: str) -> dict[str, int]:
    """The bytes that are mapped of each file that may be a model, by what `/proc/PID/maps` says. Pure.

    llama.cpp maps a model shared and for reading alone, libraries are mapped privately.
    """
    found: dict[str, int] = {}
    for line in maps.splitlines():
        fields = line.split(maxsplit=_HEAD - 1)
        if len(fields) == _HEAD and fields[1] == "r--s" and fields[5].startswith("/"):
            begin, _, end = fields[0].partition("-")
            found[fields[5]] = found.get(fields[5], 0) + int(end, 16) - int(begin, 16)
    return {path: length for path, length in found.items() if length >= _LEAST_BYTES}


def share_of(
    mapped: Mapping[str, int], sizes: Mapping[str, int], resident: int, weights: int
) -> float | None:
    """The share, from what is mapped of each file, its size, and the bytes of files in memory. Pure.

    A file is mapped whole, and what is not needed any more let go once all of it was read.
    """
    if not mapped:
        return None
    if any(length < sizes[path] for path, length in mapped.items()):
        return 1.0
    return min(1.0, resident / weights)
