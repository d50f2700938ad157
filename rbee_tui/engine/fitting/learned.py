"""What measured workers of this machine took beyond their estimates, by the model's architecture."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import UNDECODABLE

_KEPT = 8
_ARCHITECTURES = 64
_LOCK_SECONDS = 2.0
_MOST_SHARE = 0.1
_MOST_FIXED = 128 << 20
_MOST = 1 << 30


class Pair(NamedTuple):
    """Bytes of one worker: as estimated without any correction, and as measured once it was ready."""

    predicted: int
    measured: int


def correction(pairs: Sequence[Pair]) -> int:
    """Bytes to add to an estimate: the median of what was missing, bounded.

    Never less than nothing: a worker that has not touched all of its model yet seems to take little.
    """
    return int(median(_missing(pair) for pair in pairs)) if pairs else 0


def _missing(pair: Pair) -> int:
    bound = min(_MOST, _MOST_FIXED + int(_MOST_SHARE * pair.predicted))
    return max(0, min(pair.measured - pair.predicted, bound))


class Learned:
    """The pairs of one root, in `state/measured.json`."""

    def __init__(self, root: Root) -> None:
        self._path = root.state / "measured.json"
        self._lock = root.locks / "measured.lock"

    def pairs(self, architecture: str | None) -> list[Pair]:
        """The last pairs of an architecture."""
        return list(self._all().get(architecture or "", []))

    def correction(self, architecture: str | None) -> int:
        """Bytes to add to estimates of this architecture here."""
        return correction(self.pairs(architecture))

    def note(self, architecture: str | None, predicted: int, measured: int) -> None:
        """Remember a worker that is ready; one that cannot be compared is left out."""
        if not architecture or predicted <= 0 or measured <= 0:
            return
        with Lock(self._lock, "measure").acquire(_LOCK_SECONDS):
            known = dict(self._all())
            known[architecture] = [*known.pop(architecture, []), Pair(predicted, measured)][-_KEPT:]
            kept = dict(list(known.items())[-_ARCHITECTURES:])
            durable.write(self._path, msgspec.json.encode(kept))

    def _all(self) -> Mapping[str, list[Pair]]:
        """What is known; nothing where the file is absent or damaged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[Pair]])
        except (OSError, *UNDECODABLE):
            return {}
