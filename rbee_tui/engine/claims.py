"""Which ids the directories of a catalog claim: "nobody has it" without reading everything."""

import os
import re
import threading
import time
from contextlib import suppress

import msgspec

from rbee_tui.engine import entries
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.metadata import NAME
from rbee_tui.engine.plain import UNDECODABLE

_NUMBERED = re.compile(r" \(\d+\)$")
_SETTLED_NS = 100_000_000


class _Named(msgspec.Struct):
    id: str


class _Document(msgspec.Struct):
    artifact: _Named


_decoder = msgspec.json.Decoder(_Document)


class Claims:
    """The ids that each directory might go by, looked at again only where its metadata was replaced."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._stamps: dict[str, int] = {}
        self._astray: dict[str, str] = {}
        """The id in a directory's metadata, where it is not the one that the directory's name stands for."""
        self._lock = threading.Lock()

    def may_hold(self, wanted: str) -> bool:
        """Whether a scan could find an entry with this id; False is certain. Raises OSError."""
        # A scan gives a number to what would have another's id.
        either = (wanted, _NUMBERED.sub("", wanted))
        with self._lock:
            self._look()
            return any(id in either for id in self._astray.values()) or any(
                entries.own_id(name) in either for name in self._stamps
            )

    def _look(self) -> None:
        names = set(entries.names_in(self._base))
        for name in self._stamps.keys() - names:
            self._forget(name)
        at = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                stamp = _stamp(at, name)
                if stamp != self._stamps.get(name):
                    self._forget(name)
                    self._read(name)
                    self._stamps[name] = stamp
        finally:
            os.close(at)

    def _forget(self, name: str) -> None:
        self._stamps.pop(name, None)
        self._astray.pop(name, None)

    def _read(self, name: str) -> None:
        with suppress(OSError, MetadataError, *UNDECODABLE):
            said = _decoder.decode(entries.raw_metadata(f"{self._base}/{name}")).artifact.id
            if said != entries.own_id(name):
                self._astray[name] = said


def _stamp(at: int, name: str) -> int:
    """Changes whenever the metadata of a directory is replaced."""
    try:
        found = os.stat(f"{name}/{NAME}", dir_fd=at, follow_symlinks=False)
    except OSError:
        return 0
    clock = time.time_ns()
    # A replacement so soon after may carry the same time.
    settled = found.st_mtime_ns < clock - _SETTLED_NS
    return hash((found.st_ino, found.st_mtime_ns, found.st_size if settled else -clock))
