"""Server-sent events: one bounded log of encoded events, shared by any number of readers, who may resume."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import msgspec

from rbee_tui.engine.errors import BusyError
from rbee_tui.hive.limits import Limits

DONE = "[DONE]"
CANCELLED = "[CANCELLED]"
ALIVE = b": alive\n\n"


class BehindError(BusyError):
    """A reader is so far behind that the next event for it is no longer kept."""


def encode(epoch: str, number: int, event: str, data: bytes) -> bytes:
    """One event; `data` is a single line, an empty `event` is the usual kind."""
    named = f"event: {event}\n" if event else ""
    return f"id: {epoch}-{number}\n{named}data: ".encode() + data + b"\n\n"


class Stream:
    """Events in order, numbered from 1; the oldest are forgotten beyond `limits.stream_bytes`.

    Readers hold a number and no events: a hundred of them cost as much memory as one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._epoch = secrets.token_hex(4)
        self._events: deque[bytes] = deque()
        self._first = 1
        self._news = asyncio.Event()
        self.kept_bytes = 0
        self.ended = False
        self._closed = False

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._first + len(self._events) - 1

    def put(self, event: str, data: Any) -> None:
        """Add an event of a kind, its data as JSON; nothing follows the end."""
        self._add(event, msgspec.json.encode(data))

    def end(self, word: str) -> None:
        """Add the last event: `[DONE]`, `[CANCELLED]` or `[ERROR] ...`."""
        self._add("", word.encode())
        self.ended = True
        self._wake()

    def close(self) -> None:
        """Let every reader go, without an end: whoever comes back finds out what became of it."""
        self._closed = True
        self._wake()

    def _add(self, event: str, data: bytes) -> None:
        if self.ended:
            return
        encoded = encode(self._epoch, self.last + 1, event, data)
        self._events.append(encoded)
        self.kept_bytes += len(encoded)
        while self.kept_bytes > self._limits.stream_bytes and len(self._events) > 1:
            self.kept_bytes -= len(self._events.popleft())
            self._first += 1
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def after(self, last_event_id: str) -> int:
        """After which event a reader goes on who names the last one that it has; 0 is from the first."""
        epoch, _, number = last_event_id.rpartition("-")
        if epoch != self._epoch or not number.isascii() or not number.isdigit():
            return 0
        return min(int(number), self.last)

    def is_over(self, after: int) -> bool:
        """Whether a reader who has seen so much has seen the end."""
        return self.ended and after >= self.last

    async def read(self, after: int) -> AsyncGenerator[bytes]:
        """Yield what comes after an event, in pieces of at most `limits.chunk_bytes`, up to the end.

        One who comes back too late is told first how many events are missing; raises BehindError for a reader
        who falls behind while it reads.
        """
        if after + 1 < self._first:
            missed = self._first - after - 1
            yield f'event: missed\ndata: {{"events":{missed}}}\n\n'.encode()
            after = self._first - 1
        while True:
            news = self._news
            while after < self.last:
                if after + 1 < self._first:
                    raise BehindError("the reader is too far behind")
                batch, after = self._batch(after)
                for at in range(0, len(batch), self._limits.chunk_bytes):
                    yield batch[at : at + self._limits.chunk_bytes]
            if self.ended or self._closed:
                return
            if news is self._news and not await _came(news, self._limits.silence_seconds):
                yield ALIVE

    def _batch(self, after: int) -> tuple[bytes, int]:
        """The next events together as far as one piece goes, at least one, and the number of the last."""
        start = after + 1 - self._first
        size, end = 0, start
        while end < len(self._events) and (end == start or size < self._limits.chunk_bytes):
            size += len(self._events[end])
            end += 1
        return b"".join(self._events[at] for at in range(start, end)), self._first + end - 1


async def _came(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
