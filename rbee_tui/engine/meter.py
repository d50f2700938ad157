"""A smoothed rate from a counter that is polled."""

import math

_TIME_CONSTANT = 3.0  # seconds; long enough to be read, short enough to show a stall


class Meter:
    """Bytes per second of a growing counter, smoothed exponentially over about three seconds."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._count: int | None = None
        self._at = 0.0

    def update(self, count: int, now: float) -> float:
        """Take a sample of the counter at `now` (seconds, monotonic) and return the rate."""
        if self._count is None or count < self._count:
            self._count, self._at, self.rate = count, now, 0.0
            return 0.0
        span = now - self._at
        if span > 0:
            sample = (count - self._count) / span
            weight = 1.0 if self.rate == 0.0 else 1.0 - math.exp(-span / _TIME_CONSTANT)
            self.rate += weight * (sample - self.rate)
            self._count, self._at = count, now
        return self.rate
