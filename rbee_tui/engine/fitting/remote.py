"""A GGUF header read from the Hub by Range: a few requests for the file's beginning."""

import time
from typing import TYPE_CHECKING

from rbee_tui.engine.errors import NetworkError, RefusedError
from rbee_tui.engine.gguf import Header, parse
from rbee_tui.engine.transfer.attempt import Line
from rbee_tui.engine.transfer.patience import Fault
from rbee_tui.engine.transfer.source import Limits, Source
from rbee_tui.engine.transfer.spans import Gap

if TYPE_CHECKING:
    from rbee_tui.engine.transfer.wire import Body

MOST = 12_000_000
"""Bytes that are read of a file at most."""
_PIECE = 4_000_000
"""Bytes of a request: with three of them all of `MOST` is there."""
_TRIES = 2
SECONDS = 120.0
"""How long a header may take that somebody waits for."""


class _Beginning:
    """The first bytes of a remote file, fetched as they are needed."""

    def __init__(self, source: Source, token: str | None, seconds: float) -> None:
        from rbee_tui.engine.transfer.wire import Wire  # noqa: PLC0415 - it loads its library

        self._source = source
        self._until = time.monotonic() + seconds
        self._wire = Wire(source, token, Limits(connect=min(10.0, seconds), stall=min(10.0, seconds)))
        self._line = Line()
        self._link = self._wire.link(self._line)
        self._data = bytearray()

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset`; raises RefusedError beyond `MOST`."""
        while len(self._data) < offset + count and len(self._data) < self._source.size_bytes:
            if len(self._data) >= MOST:
                if len(self._data) > offset:
                    break
                raise RefusedError(
                    f"the header of {self._source.label} is larger than {MOST // 1_000_000} MB",
                    hint="its fit can be told once it is here",
                )
            self._fetch()
        return bytes(self._data[offset : offset + count])

    def close(self) -> None:
        """Close the connections."""
        self._link.close()
        self._line.close()

    def _fetch(self) -> None:
        """Fetch the next piece; a fault is met with a second try."""
        for left in reversed(range(_TRIES)):
            start = len(self._data)
            gap = Gap(start, min(start + _PIECE, MOST, self._source.size_bytes))
            try:
                body = self._link.open(gap)
                try:
                    self._take(body, gap.end)
                finally:
                    body.close()
            except Fault as fault:
                if not left:
                    raise NetworkError(f"{self._source.label}: {fault.text}", hint=fault.hint) from None
            else:
                return

    def _take(self, body: "Body", until: int) -> None:
        if body.skip > MOST:
            raise RefusedError(f"the server of {self._source.label} sends whole files only")
        left = body.skip
        while left:
            skipped = body.read(min(left, 1 << 20))
            if not skipped:
                raise Fault("network", "the connection broke off")
            left -= len(skipped)
        while len(self._data) < until:
            if time.monotonic() > self._until:
                raise NetworkError(f"the header of {self._source.label} does not come in time")
            piece = body.read(min(until - len(self._data), 1 << 20))
            if not piece:
                raise Fault("network", "the connection broke off")
            self._data += piece


def read_remote(source: Source, token: str | None, seconds: float = SECONDS) -> Header:
    """The header of one remote file; raises what the Hub answers, MetadataError for what is no GGUF."""
    beginning = _Beginning(source, token, seconds)
    try:
        return parse(beginning.read_at, source.size_bytes)
    finally:
        beginning.close()
