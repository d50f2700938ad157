"""What a stalled link costs the transfers: their bytes at the Hub, counted every 20 ms."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

_EVERY = 0.02

Counts = Mapping[str, int]


class Sample(NamedTuple):
    """The bytes sent of each transfer, at a moment of the monotonic clock."""

    at: float
    sent: Counts


@contextmanager
def watching(sent: Callable[[], Counts]) -> Iterator[list[Sample]]:
    """Samples from the beginning to the end of the block."""
    found = [Sample(time.monotonic(), sent())]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            found.append(Sample(time.monotonic(), sent()))

    watcher = threading.Thread(target=watch, name="watching")
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def under_way(samples: Sequence[Sample], size: int) -> set[str]:
    """The transfers of `size` bytes that had begun before the first sample and were not done at the last."""
    return {name for name, count in samples[0].sent.items() if count and samples[-1].sent[name] < size}


def longest(samples: Sequence[Sample], name: str) -> float:
    """Seconds of the longest time in which nothing was sent of a transfer."""
    grown, count, found = samples[0].at, samples[0].sent[name], 0.0
    for at, sent in samples[1:]:
        found = max(found, at - grown)
        if sent[name] != count:
            grown, count = at, sent[name]
    return found


def rate(samples: Sequence[Sample], name: str) -> float:
    """Bytes per second of a transfer, from the first chunk that was seen to the last: those are large."""
    grown = [after for before, after in pairwise(samples) if after.sent[name] != before.sent[name]]
    if not grown:
        return 0.0
    first, last = grown[0], grown[-1]
    return (last.sent[name] - first.sent[name]) / max(_EVERY, last.at - first.at)


def losses(rest: Sequence[Sample], stalled: Sequence[Sample], size: int) -> tuple[float, float]:
    """What the transfer that fares worst loses to a stall: by its rate, and to a standstill, in seconds.

    Both beside a rest right before it; raises AssertionError where nothing moved in that.
    """
    names = under_way(rest, size) & under_way(stalled, size)
    names = {name for name in names if rate(rest, name)}
    assert names, "nothing moved"
    seconds = stalled[-1].at - stalled[0].at
    return (
        max(seconds * (1 - rate(stalled, name) / rate(rest, name)) for name in names),
        max(longest(stalled, name) - longest(rest, name) for name in names),
    )
