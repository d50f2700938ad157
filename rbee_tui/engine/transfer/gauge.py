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
_FORGET_SECONDS = 60.0


class Trip(NamedTuple):
    """A handshake: when it began (monotonic), how long it took, how long the quickest did; in seconds."""

    began: float
    took: float
    quickest: float


def handshake(peer: Peer) -> float | None:
    """Seconds that a handshake with a peer takes, at most three; None where the peer refuses."""
    family = socket.AF_INET if len(peer) == 2 else socket.AF_INET6  # noqa: PLR2004 - address and port
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(_LONGEST_SECONDS)
        began = time.monotonic()
        try:
            connection.connect(peer)
        except TimeoutError:
            return _LONGEST_SECONDS
        except OSError:
            return None
        return time.monotonic() - began


class _Way:
    """What is known of one peer."""

    def __init__(self) -> None:
        self.newest: Trip | None = None
        self.asked = float("-inf")
        self.asking = False


class Gauge:
    """The ways to several peers; each is asked once a second at most, in a thread of its own."""

    def __init__(self, ask: Callable[[Peer], float | None] = handshake) -> None:
        self._ask = ask
        self._ways: dict[Peer, _Way] = {}
        self._looked = float("-inf")
        self._lock = threading.Lock()

    def look(self, peer: Peer, now: float) -> Trip | None:
        """The newest handshake with a peer, None before there is one; begins the next where it is due."""
        with self._lock:
            if now - self._looked > _FORGET_SECONDS:
                # By now the machine may be on another line.
                self._ways.clear()
            self._looked = now
            way = self._ways.setdefault(peer, _Way())
            if not way.asking and now - way.asked >= _EVERY_SECONDS:
                way.asking, way.asked = True, now
                threading.Thread(target=self._time, args=(peer, way), name="rbee-gauge", daemon=True).start()
            return way.newest

    def _time(self, peer: Peer, way: _Way) -> None:
        took = self._ask(peer)
        with self._lock:
            way.asking = False
            if took is not None:
                before = way.newest.quickest if way.newest else took
                way.newest = Trip(way.asked, took, min(took, before))
