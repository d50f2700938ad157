"""Ending a question to the Hub that nobody waits for any more: its connection is shut down under it."""

import atexit
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from rbee_tui.engine.errors import NetworkError

_CONNECTED = (".connect_tcp.complete", ".start_tls.complete")


class Line:
    """The connection of one question at a time, kept for the next one; `client` alone uses it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.socket: socket.socket | None = None


class Cut:
    """What may end one question, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._wanted = False

    def now(self) -> None:
        """End it; of what is over already nothing is touched."""
        with self._lock:
            self._wanted = True
            self._shut()

    @contextmanager
    def asking(self, make: Callable[[], Any]) -> Generator[None]:
        """Ask within this, by a client of its own; raises NetworkError where it was ended before."""
        with self._lock:
            if self._wanted:
                raise NetworkError("this search was given up")
            line = self._line = _take() or Line(make())
        before = _asked.set(self)
        try:
            yield
        finally:
            _asked.reset(before)
            with self._lock:
                self._line = None
            _idle.append(line)

    @property
    def client(self) -> Any:
        """The client that the question is asked by."""
        return self._line.client if self._line else None

    def trace(self, event: str, told: Mapping[str, Any]) -> None:
        """Take notice of a new connection; the client calls it with each of its events."""
        if event.endswith(_CONNECTED):
            with self._lock:
                if self._line is not None:
                    self._line.socket = told["return_value"].get_extra_info("socket")
                if self._wanted:
                    self._shut()

    def _shut(self) -> None:
        if self._line is not None and self._line.socket is not None:
            # Closing alone wakes nobody who reads; and TLS is not told, whose state is another thread's.
            with suppress(OSError):
                socket.socket.shutdown(self._line.socket, socket.SHUT_RDWR)


_idle: list[Line] = []
"""Lines that nobody asks by now."""
_asked: "ContextVar[Cut | None]" = ContextVar("asked", default=None)


def _take() -> Line | None:
    with suppress(IndexError):  # another thread was quicker
        return _idle.pop()
    return None


def current() -> Cut | None:
    """What may end the question that this thread asks; None where nothing may."""
    return _asked.get()


@atexit.register
def _close() -> None:
    for line in _idle:
        line.client.close()
