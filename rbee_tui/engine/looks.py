"""What a catalog's directory looks like, in few bytes: two looks tell what other hands changed since."""

import os
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from rbee_tui.engine import entries
from rbee_tui.engine.metadata import NAME

_BETWEEN = "/"
"""No name can hold it."""


class Look(NamedTuple):
    """The names that stand for something, in the order of the directory, and a stamp for each.

    One text and eight bytes a name: a dict of 10,000 models would be 2.5 MB for as long as one looks.
    """

    names: str
    stamps: "array[int]"

    def each(self) -> Iterator[tuple[str, int]]:
        """The names with their stamps."""
        return zip(self.names.split(_BETWEEN), self.stamps, strict=False)  # of no name a split makes one


def look(base: str) -> Look:
    """Look at a catalog's directory; raises OSError when it cannot be listed."""
    names = entries.names_in(base)
    return Look(_BETWEEN.join(names), array("q", _stamps(base, names)))


def differing(one: Look, other: Look) -> set[str]:
    """The names that came, went or have another stamp."""
    if one == other:
        return set()
    if one.names == other.names:
        both = zip(one.each(), other.stamps, strict=False)
        return {name for (name, before), after in both if before != after}
    before, after = dict(one.each()), dict(other.each())
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _stamps(base: str, names: list[str]) -> Iterator[int]:
    """Of each name a number that changes when its metadata is replaced, or a file beside it comes or goes.

    Relative to the catalog's own directory, so that the system need not walk down to it each time. A name
    that is gone by now has 0.
    """
    ask = os.stat
    at = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            try:
                place = ask(name, dir_fd=at, follow_symlinks=False)
            except OSError:
                yield 0
                continue
            try:
                inner = ask(f"{name}/{NAME}", dir_fd=at, follow_symlinks=False)
            except OSError:
                yield hash((place.st_ino, place.st_mtime_ns))
            else:
                seen = (inner.st_ino, inner.st_size, inner.st_mtime_ns)
                yield hash((place.st_ino, place.st_mtime_ns, *seen))
    finally:
        os.close(at)
