"""Which ids the directories of a catalog claim: "nobody has it" without reading everything."""

import os
import re
import time

import msgspec

from rbee_tui.engine import entries
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.metadata import NAME
from rbee_tui.engine.plain import UNDECODABLE

_NUMBERED = re.compile(r" \(\d+\)$")
_SETTLED_NS = 100_000_000

_Stamp = tuple[int, int, int]


class _Named(msgspec.Struct):
    id: str


class _Document(msgspec.Struct):
    artifact: _Named


_decoder = msgspec.json.Decoder(_Document)


class Claims:
    """The ids that each directory might go by, looked at again only where its metadata was replaced."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._known: dict[str, tuple[_Stamp, set[str]]] = {}

    def may_hold(self, wanted: str) -> bool:
        """Whether a scan could find an entry with this id; False is certain. Raises OSError."""
        self._look()
        # A scan gives a number to what would have another's id.
        plain = _NUMBERED.sub("", wanted)
        return any(wanted in claimed or plain in claimed for _, claimed in self._known.values())

    def _look(self) -> None:
        found: dict[str, tuple[_Stamp, set[str]]] = {}
        at = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in entries.names_in(self._base):
                stamp = _stamp(at, name)
                known = self._known.get(name)
                found[name] = known if known and known[0] == stamp else (stamp, self._claimed(name))
        finally:
            os.close(at)
        self._known = found

    def _claimed(self, name: str) -> set[str]:
        """The id that stands in the metadata, and the one that the name stands for."""
        own = entries.own_id(name)
        try:
            return {own, _decoder.decode(entries.raw_metadata(f"{self._base}/{name}")).artifact.id}
        except (OSError, MetadataError, *UNDECODABLE):
            return {own}


def _stamp(at: int, name: str) -> _Stamp:
    """Changes whenever the metadata of a directory is replaced."""
    try:
        found = os.stat(f"{name}/{NAME}", dir_fd=at, follow_symlinks=False)
    except OSError:
        return (0, 0, 0)
    clock = time.time_ns()
    # A replacement so soon after may carry the same time.
    settled = found.st_mtime_ns < clock - _SETTLED_NS
    return (found.st_ino, found.st_mtime_ns, found.st_size if settled else -clock)
