"""Which bytes a connection is given, and what it gives up to one that has nothing left to do."""

import threading
from collections.abc import Iterable
from statistics import median

import msgspec

from rbee_tui.engine.transfer.spans import Gap


class Segment:
    """Bytes that one connection fetches in order; its rear may be taken away while it does.

    `claim()` before writing and `give()` exclude each other, so that no byte has two owners.
    """

    def __init__(self, gap: Gap) -> None:
        self.start, self.end = gap
        self.position = gap.start
        """The first byte that was not claimed yet."""
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Bytes that are still to be claimed."""
        return self.end - self.position

    def claim(self, count: int) -> int:
        """Claim up to `count` bytes at the position; returns how many are still the owner's."""
        with self._lock:
            count = min(count, self.left)
            self.position += count
            return count

    def give(self, share: float, least: int, grid: int) -> Gap | None:
        """Give away about `share` of what is left, from the rear; None when it is less than `least`.

        The cut is made between two blocks where that leaves both sides enough.
        """
        with self._lock:
            if self.left < 2 * least:
                return None
            wanted = self.end - int(self.left * share)
            cut = min(max(wanted, self.position + least), self.end - least)
            between = cut - cut % grid
            if between >= self.position + least:
                cut = between
            given = Gap(cut, self.end)
            self.end = cut
            return given

    def shorten(self, reach: int, grid: int) -> None:
        """End after at most `reach` bytes more: between two blocks if there is such a place, else here."""
        with self._lock:
            if self.left > reach:
                last = self.position + reach
                self.end = max(self.position, last - last % grid)

    def extend(self, end: int) -> None:
        """Own the bytes up to `end` too."""
        with self._lock:
            self.end = max(self.end, end)


class Victim(msgspec.Struct, frozen=True):
    """A connection that could give something up: bytes left, and bytes per second (0: not known yet)."""

    left: int
    rate: float

    @property
    def seconds(self) -> float:
        """How long it will take alone."""
        return self.left / self.rate if self.rate > 0 else float("inf")


def choose(victims: Iterable[Victim], least: int, seconds: float) -> Victim | None:
    """Whom to relieve: the one that would take longest, if it has `2 * least` bytes and over `seconds`."""
    worth = [v for v in victims if v.left >= 2 * least and v.seconds > seconds]
    return max(worth, key=lambda v: (v.seconds, v.left), default=None)


def share(own_rate: float, other_rate: float) -> float:
    """Which part of another's bytes one takes so that both end together; half where a rate is not known."""
    if own_rate <= 0:
        return 0.5
    return min(0.95, max(0.05, own_rate / (own_rate + other_rate)))


def fair(usual: int, rate: float, others: Iterable[float]) -> int:
    """How much a connection gets where the usual one gets `usual`: so much that both take as long.

    Nothing while its rate (bytes per second) is not known.
    """
    middle = median([rate, *others])
    return int(usual * min(1.0, rate / middle)) if middle > 0 else 0


def length(rate: float, asking: float, shortest: int, longest: int, times: float) -> int:
    """How long a segment is: asking for it (`asking` seconds) takes 1/`times` of fetching it at `rate`."""
    return int(min(longest, max(shortest, rate * asking * times)))


def clip(gap: Gap, size: int, grid: int) -> Gap:
    """The beginning of a gap: about `size` bytes, up to the end of a block."""
    end = gap.start - gap.start % grid + max(1, round(size / grid)) * grid
    return Gap(gap.start, min(gap.end, end))
