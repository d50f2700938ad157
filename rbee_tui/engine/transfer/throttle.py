"""A bandwidth cap that is exact and smooth, and the gentleness that finds its own."""

import threading
from statistics import median

_CHUNK_SECONDS = 0.01
_SMALLEST_CHUNK = 2 << 10
_BUFFER_SECONDS = 0.05
_SMALLEST_BUFFER, _LARGEST_BUFFER = 4 << 10, 4 << 20
_CHANGE_SECONDS = 1.0  # a change of the rate takes a while to show in the round trips
_RECOVERY = 1.1
_SLOWEST = 64 << 10
_SLACK_MICROSECONDS = 10_000  # below this a doubled round trip is the machine's own noise


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
        """The receive buffer for a new connection, in bytes; None for the system's own.

        A large one would let the server run ahead of the cap.
        """
        rate = self._rate
        if rate is None:
            return None
        wanted = int(rate * _BUFFER_SECONDS / max(1, connections))
        return min(_LARGEST_BUFFER, max(_SMALLEST_BUFFER, wanted))


class Gentle:
    """Yields to others on the line: when its round trips take twice as long as they could, half the rate.

    Pure but for the throttle that it sets; rates in bytes per second, round trips in microseconds.
    """

    def __init__(self) -> None:
        self.throttle = Throttle()
        self._least: int | None = None
        self._changed_at = float("-inf")

    def look(self, trips: list[int], rate: float, now: float) -> None:
        """Take the round-trip times of the connections and the rate that they have together."""
        trips = [trip for trip in trips if trip > 0]
        if not trips:
            return
        least = min(trips)
        self._least = least if self._least is None else min(self._least, least)
        if now - self._changed_at < _CHANGE_SECONDS:
            return
        current = self.throttle.rate
        if median(trips) > 2 * self._least + _SLACK_MICROSECONDS:
            self._changed_at = now
            base = rate if current is None else min(rate or current, current)
            self.throttle.rate = max(_SLOWEST, int(base / 2))
        elif current is not None:
            self._changed_at = now
            faster = int(current * _RECOVERY)
            # A cap far above what arrives is none.
            self.throttle.rate = None if faster > 4 * max(rate, _SLOWEST) else faster
