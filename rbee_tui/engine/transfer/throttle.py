"""A bandwidth cap that is exact and smooth, and the gentleness that finds its own."""

import threading
from collections.abc import Iterable

from rbee_tui.engine.transfer.gauge import Trip

_CHUNK_SECONDS = 0.01
_SMALLEST_CHUNK = 2 << 10
_BUFFER_SECONDS = 0.05
_SMALLEST_BUFFER, _LARGEST_BUFFER = 4 << 10, 4 << 20
# A change of the rate takes a while to show: when it is lowered, the system's buffers are filled first.
_YIELD_SECONDS, _RECOVER_SECONDS = 2.0, 1.0
_RECOVERY = 1.25
_SLOWEST = 64 << 10
_SLACK_SECONDS = 0.05  # below this a doubled handshake is noise, or a burst of our own


class Throttle:
    """One virtual clock for all connections that share a cap; the rate may change at any moment."""

    def __init__(self, rate: int | None = None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._clock = 0.0
        """When the bytes that were taken so far are paid for."""

    @property
    def rate(self) -> int | None:
        """Bytes per second; None without a cap."""
        return self._rate

    @rate.setter
    def rate(self, rate: int | None) -> None:
        # What was taken at the old rate is paid for at the old rate, at most a chunk of it.
        with self._lock:
            self._rate = rate

    def chunk(self, most: int) -> int:
        """How much to read at once: about 10 ms worth, so that no reader takes the others' turn."""
        rate = self._rate
        return most if rate is None else max(1, min(most, max(_SMALLEST_CHUNK, int(rate * _CHUNK_SECONDS))))

    def charge(self, count: int, now: float) -> float:
        """Account for bytes that were read at `now` (seconds, monotonic); returns the seconds to wait."""
        with self._lock:
            rate = self._rate
            if not rate:
                return 0.0
            credit = self.chunk(1 << 20) / rate
            self._clock = max(self._clock, now - credit) + count / rate
            return max(0.0, self._clock - now)

    def buffer(self, connections: int) -> int | None:
        """The receive buffer for each of so many connections, in bytes; None for the system's own.

        A large one would let the server run ahead of the cap.
        """
        rate = self._rate
        if rate is None:
            return None
        wanted = int(rate * _BUFFER_SECONDS / max(1, connections))
        return min(_LARGEST_BUFFER, max(_SMALLEST_BUFFER, wanted))


def buffer(throttles: Iterable[Throttle], connections: int) -> int | None:
    """As `Throttle.buffer()` for connections that several throttles hold back: the smallest."""
    found = [throttle.buffer(connections) for throttle in throttles]
    return min((each for each in found if each is not None), default=None)


class Gentle:
    """Yields to others on the line: where a handshake takes twice as long as it could, half the rate.

    Alone again it doubles up to half of what it had, then goes on slowly. Pure but for the throttle it sets;
    rates in bytes per second.
    """

    def __init__(self) -> None:
        self.throttle = Throttle()
        self._not_before = float("-inf")
        self._yields = False
        self._reached = 0.0
        """The rate at which somebody else was noticed."""

    def look(self, trip: Trip | None, rate: float, now: float) -> None:
        """Take the newest handshake, and the rate of all connections together at `now`.

        Where none is answered nothing is known: then it goes on as if it were alone.
        """
        if (now if trip is None else trip.began) < self._not_before:
            return
        current = self.throttle.rate
        if trip and trip.took > 2 * trip.quickest + _SLACK_SECONDS:
            self._not_before = now + _YIELD_SECONDS
            base = rate if current is None else min(rate or current, current)
            self._reached = self._reached if self._yields else base
            self._yields = True
            self.throttle.rate = max(_SLOWEST, int(base / 2))
        elif current is not None:
            self._not_before = now + _RECOVER_SECONDS
            self._yields = False
            faster = int(current * (2 if 4 * current <= self._reached else _RECOVERY))
            # A cap far above what arrives is none.
            self.throttle.rate = None if faster > 4 * max(rate, _SLOWEST) else faster
