"""How long bytes wait on the way from a peer: a handshake now and then, beside the quickest one.

A connection that brings a file does not tell: what the kernel estimates of it counts how slowly we read. The
answer to a handshake stands in the same queue as the bytes that arrive.
"""

import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

Peer = tuple[str | int, ...]
"""The address of a socket's other end, as the system writes it."""

_EVERY_SECONDS = 1.0
_LONGEST_SECONDS = 3.0
_FRESH_SECONDS = 6.0
_FORGET_SECONDS = 60.0
_QUICKEST_SECONDS = 300.0  # how long the quickest is believed at least: a machine may change its line


class Trip(NamedTuple):
    """A handshake: when it began (monotonic), how long it took, how long the quickest did; in seconds."""

    began: float
    took: float
    quickest: float


def handshake(peer: Peer) -> float | None:
    """Seconds that a handshake with a peer takes; None where it refuses, or does not answer within three."""
    family = socket.AF_INET if len(peer) == 2 else socket.AF_INET6  # noqa: PLR2004 - address and port
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(_LONGEST_SECONDS)
            began = time.monotonic()
            connection.connect(peer)
            return time.monotonic() - began
    except OSError:
        return None


class _Way:
    """What is known of one peer; times in seconds, monotonic."""

    def __init__(self) -> None:
        self.looked = self.asked = float("-inf")
        self.asking = False
        self.newest: Trip | None = None
        self._since = float("-inf")
        self._quickest = self._before = float("inf")
        """The quickest of this period and of the one before."""

    def take(self, began: float, took: float) -> None:
        """Take note of a handshake."""
        if began - self._since >= _QUICKEST_SECONDS:
            self._before, self._quickest, self._since = self._quickest, took, began
        self._quickest = min(self._quickest, took)
        self.newest = Trip(began, took, min(self._quickest, self._before))


class Gauge:
    """The ways to several peers; each is asked once a second at most, in a thread of its own."""

    def __init__(self, ask: Callable[[Peer], float | None] = handshake) -> None:
        self._ask = ask
        self._ways: dict[Peer, _Way] = {}
        self._lock = threading.Lock()

    def look(self, peer: Peer, now: float) -> Trip | None:
        """The newest handshake with a peer, and the next one begun where it is due.

        None before there is one, and where none was answered for a while.
        """
        with self._lock:
            # A minute later the machine may be on another line.
            self._ways = {p: way for p, way in self._ways.items() if now - way.looked <= _FORGET_SECONDS}
            way = self._ways.setdefault(peer, _Way())
            way.looked = now
            if not way.asking and now - way.asked >= _EVERY_SECONDS:
                way.asked = now
                way.asking = self._begin(peer, way)
            fresh = way.newest is not None and now - way.newest.began <= _FRESH_SECONDS
            return way.newest if fresh else None

    def _begin(self, peer: Peer, way: _Way) -> bool:
        thread = threading.Thread(target=self._time, args=(peer, way), name="rbee-gauge", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no thread to give just now: it is asked later.
            return False
        return True

    def _time(self, peer: Peer, way: _Way) -> None:
        took = self._ask(peer)
        with self._lock:
            way.asking = False
            if took is not None:
                way.take(way.asked, took)
