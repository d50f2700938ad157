"""Sets of byte ranges: which bytes of a file are there."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple


class Gap(NamedTuple):
    """Bytes that are missing: [start, end)."""

    start: int
    end: int


class Spans:
    """Disjoint, sorted byte ranges [start, end)."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def copy(self) -> "Spans":
        """The same ranges, to be changed on their own."""
        other = Spans()
        other._starts, other._ends = self._starts.copy(), self._ends.copy()
        return other

    def add(self, start: int, end: int) -> None:
        """Add a range; ranges that touch become one."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        """Take a range out; what was not there stays so."""
        if start >= end:
            return
        kept = [
            piece
            for left, right in zip(self._starts, self._ends, strict=True)
            for piece in ((left, min(right, start)), (max(left, end), right))
            if piece[0] < piece[1]
        ]
        self._starts = [left for left, _ in kept]
        self._ends = [right for _, right in kept]

    def covers(self, start: int, end: int) -> bool:
        """Whether every byte of a range is there."""
        at = bisect_right(self._starts, start) - 1
        return start >= end or (at >= 0 and self._ends[at] >= end)

    def prefix(self) -> int:
        """How many bytes are there from the beginning on, without a hole."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def total(self) -> int:
        """How many bytes are there."""
        return sum(self._ends) - sum(self._starts)

    def first_gap(self, size: int) -> Gap | None:
        """The first missing range of a file of `size` bytes; None when it is complete."""
        start = self.prefix()
        if start >= size:
            return None
        at = bisect_right(self._starts, start)
        return Gap(start, min(self._starts[at], size) if at < len(self._starts) else size)
