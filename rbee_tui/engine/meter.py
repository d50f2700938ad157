"""A smoothed rate from a counter that is polled."""

import math

_TIME_CONSTANT = 3.0  # seconds; long enough to be read, short enough to show a stall


class Meter:
    """Bytes per second of a growing counter, smoothed exponentially over about three seconds.

    Until it has been looked at for so long it is the plain average since the first byte, however short the
    first moment was.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._count: int | None = None
        self._at = 0.0
        self._sum = 0.0
        self._weight = 0.0
        """Of all samples so far; it comes to one with time."""

    def update(self, count: int, now: float) -> float:
        """Take a sample of the counter at `now` (seconds, monotonic) and return the rate."""
        if self._count is None or count < self._count:
            self._count, self._at = count, now
            self.rate = self._sum = self._weight = 0.0
        span, grown = now - self._at, count - self._count
        if span > 0:
            if grown or self._weight:
                # Not 1.0 - exp(...): that is zero for two looks that are very near each other.
                gained = -math.expm1(-span / _TIME_CONSTANT)
                self._sum += gained * (grown / span - self._sum)
                self._weight += gained * (1.0 - self._weight)
                self.rate = self._sum / self._weight
            self._count, self._at = count, now
        return self.rate
