"""What a catalog's directory looks like, in few bytes: two looks tell what other hands changed since."""

import os
import re
import time
from array import array
from collections.abc import Iterator
from io import StringIO
from typing import NamedTuple

from rbee_tui.engine import entries, notices
from rbee_tui.engine.metadata import NAME
from rbee_tui.engine.notices import Notices

MANY = 1000
"""From so many names on the system is asked to tell; to look at fewer costs nothing."""
SURE_SECONDS = 60.0
"""So often one looks, whatever the system tells: of a mount in the place of a directory it tells nothing."""
_NAME = re.compile("[^/]+")


class Lookout:
    """Tells what other hands (`scp`, `rm`, an editor) changed in a catalog's directory, call by call.

    One call at a time. A look is two calls to the system for each name; where there are many, and the system
    tells that nothing happened, there is none.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._before: Look | None = None
        self._notices: Notices | None = None
        self._deaf = False
        """Whether it was found that the system does not tell."""
        self._certain_until = 0.0
        """Until then (a monotonic time) nothing can have happened that is not heard."""

    def changed(self) -> set[str]:
        """The ids of which metadata, or a file beside it, changed since the last call; none at the first.

        Raises OSError when the directory cannot be listed; the next call then tells of that time, too.
        """
        if self._is_quiet():
            return set()
        self._certain_until = 0.0
        seen, now = look(self._base), time.monotonic()
        before, self._before = self._before, seen
        if before is None:  # somebody waits for what is there: to listen can wait
            return set()
        names = differing(before, seen)
        if self._listens(seen, names):
            self._certain_until = now + SURE_SECONDS
        return {entries.own_id(name) for name in names}

    def _is_quiet(self) -> bool:
        return self._notices is not None and self._notices.quiet() and time.monotonic() < self._certain_until

    def _listens(self, seen: "Look", new: set[str]) -> bool:
        """Listen to these, too; whether everything in a look was listened to when it was made."""
        if self._deaf or len(seen.stamps) < MANY or not notices.affordable(len(seen.stamps)):
            return False
        first = self._notices is None
        try:
            self._notices = self._notices or Notices(self._base)
            for name in (name for name, _ in seen.each()) if first else new:
                self._notices.attend(name)
        except OSError:
            self._notices, self._deaf = None, True
        return not (first or new)


class Look(NamedTuple):
    """The names that stand for something, in the order of the directory, and a stamp for each.

    One text and eight bytes a name: a dict of 10,000 models would be 2.5 MB for as long as one looks.
    """

    names: str
    stamps: "array[int]"

    def each(self) -> Iterator[tuple[str, int]]:
        """The names with their stamps."""
        names = (found[0] for found in _NAME.finditer(self.names))
        return zip(names, self.stamps, strict=True)


def look(base: str) -> Look:
    """Look at a catalog's directory; raises OSError when it cannot be listed."""
    names, stamps = StringIO(), array("q")
    at = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in entries.names_in(base):
            names.write(f"{name}/")
            stamps.append(_stamp(at, name))
    finally:
        os.close(at)
    return Look(names.getvalue(), stamps)


def differing(one: Look, other: Look) -> set[str]:
    """The names that came, went or have another stamp."""
    if one == other:
        return set()
    if one.names == other.names:
        both = zip(one.each(), other.stamps, strict=True)
        return {name for (name, before), after in both if before != after}
    known = dict(one.each())
    anew = {name for name, stamp in other.each() if known.pop(name, None) != stamp}
    return anew | known.keys()


def _stamp(at: int, name: str) -> int:
    """A number that changes when a name's metadata is replaced, or a file beside it comes or goes; 0 if gone.

    Relative to the catalog's own directory, so that the system need not walk down to it each time.
    """
    try:
        place = os.stat(name, dir_fd=at, follow_symlinks=False)
    except OSError:
        return 0
    try:
        inner = os.stat(f"{name}/{NAME}", dir_fd=at, follow_symlinks=False)
    except OSError:
        return hash((place.st_ino, place.st_mtime_ns))
    return hash((place.st_ino, place.st_mtime_ns, inner.st_ino, inner.st_size, inner.st_mtime_ns))
