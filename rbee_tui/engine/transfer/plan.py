"""Pure decisions about a file on disk and at the Hub: what is kept, and when a connection is too slow."""

from collections.abc import Sequence
from statistics import median

import msgspec

from rbee_tui.engine.transfer.journal import DIGEST, VERSION, Block, Header, Loaded
from rbee_tui.engine.transfer.source import Limits, Source

_SMALLEST_GRID = 4 << 10
_LARGEST_GRID = 64 << 20
_LAGGING = 0.1
_ENOUGH_TO_COMPARE = 2


class Resume(msgspec.Struct, frozen=True):
    """What an earlier transfer left that may be kept, and why the rest may not."""

    grid: int
    trusted: list[Block] = []
    unproven: list[Block] = []
    """To be read, and kept if the digest holds: whole blocks and pieces, in file order."""
    note: str = ""


def header(source: Source, grid: int) -> Header:
    """The first line of the journal of a transfer."""
    return Header(
        endpoint=source.endpoint,
        repo=source.repo,
        commit=source.revision,
        path=source.path,
        size=source.size_bytes,
        oid=source.oid,
        grid=grid,
    )


def resume(loaded: Loaded, source: Source, part_size: int | None, limits: Limits) -> Resume:
    """Decide what of a part of `part_size` bytes (None: there is none) and of its journal is kept."""
    if part_size is None:
        return Resume(limits.grid)
    if loaded.header is None:
        note = "starting at zero: what was there has no journal that can be read" if part_size else ""
        return Resume(limits.grid, note=note)
    foreign = why_foreign(loaded.header, source)
    if foreign:
        return Resume(limits.grid, note=f"starting at zero: {foreign}")
    ordered = sorted([*loaded.unproven.values(), *loaded.pieces.values()], key=lambda block: block.offset)
    return Resume(
        loaded.header.grid,
        [block for _, block in sorted(loaded.trusted.items()) if block.end <= part_size],
        [block for block in ordered if block.end <= part_size],
    )


def why_foreign(found: Header, source: Source) -> str:
    """Why a journal's bytes are not this source's, as a clause; empty when they are."""
    if found.version != VERSION or found.digest != DIGEST:
        return "the journal was written by another version of rbee"
    if found.grid & (found.grid - 1) or not _SMALLEST_GRID <= found.grid <= _LARGEST_GRID:
        return "the journal has blocks of a size that cannot be"
    if found.size != source.size_bytes or found.oid != source.oid:
        return "the file changed at the Hub"
    # Equal hashes mean equal bytes, wherever they came from; without one, only the pinned commit says so.
    pinned = (found.endpoint, found.repo, found.commit, found.path)
    if not source.oid and pinned != (source.endpoint, source.repo, source.revision, source.path):
        return "the Hub gives no hash for it, and it was begun from another place"
    return ""


class Pace:
    """Whether a connection brings nothing: less than `trickle` bytes in `stall` seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._bytes = 0
        self._at = now

    def stalled(self, arrived: int, now: float, *, busy: bool) -> bool:
        """Take a sample: bytes that arrived on this connection, and whether we keep it waiting ourselves."""
        if busy or arrived - self._bytes >= self._limits.trickle:
            self._bytes, self._at = arrived, now
        return now - self._at >= self._limits.stall


def lags(rate: float, others: Sequence[float]) -> bool:
    """Whether a connection runs under a tenth of the median of two or more others."""
    return len(others) >= _ENOUGH_TO_COMPARE and rate < median(others) * _LAGGING
