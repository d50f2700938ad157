"""What a catalog's directory looks like, in few bytes: two looks tell what other hands changed since."""

import os
import re
from array import array
from collections.abc import Iterator
from io import StringIO
from typing import NamedTuple

from rbee_tui.engine import entries
from rbee_tui.engine.metadata import NAME

_NAME = re.compile("[^/]+")


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
