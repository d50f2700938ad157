"""Looking through all the places, and at what of it the catalog has already."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from rbee_tui.engine.artifacts import Entry, Model
from rbee_tui.engine.describe import place_of
from rbee_tui.engine.elsewhere import files, hubcache, ollama
from rbee_tui.engine.elsewhere.found import Found, is_under
from rbee_tui.engine.elsewhere.places import Place, places

_READERS = {"hub": hubcache.look, "ollama": ollama.look, "files": files.look}


def look(where: Sequence[Place] | None = None, *, but: Path | None = None) -> list[Found]:
    """The models of other programs, by program; what cannot be read is left out.

    `but` is a directory that is nobody else's: the root itself. Blocking, writes nothing, hashes nothing.
    """
    return list(_distinct(_all(places() if where is None else where, but)))


def _all(where: Iterable[Place], but: Path | None) -> Iterator[Found]:
    for place in where:
        base = Path(place.path)
        if base.is_dir():
            for found in _READERS[place.layout](base, place.program):
                if but is None or not is_under(found.path, but):
                    yield found


def _distinct(found: Iterable[Found]) -> Iterator[Found]:
    """One place may be reached by two ways; of two that go by one name the second goes by its path."""
    seen: set[tuple[str, ...]] = set()
    names: set[str] = set()
    for each in found:
        where = tuple(os.path.realpath(file.path) for file in each.files)
        if where not in seen:
            seen.add(where)
            named = each if each.id not in names else msgspec.structs.replace(each, id=each.path)
            names.add(named.id)
            yield named


def mark_here(found: Sequence[Found], entries: Sequence[Entry[Model]]) -> list[Found]:
    """Say of each which model of the catalog has its bytes: by hash, or because it is the same file."""
    by_hash: dict[str, str] = {}
    by_file: dict[tuple[int, int], str] = {}
    for entry in entries:
        for file in entry.artifact.files if entry.artifact else ():
            if file.sha256:
                by_hash.setdefault(file.sha256, entry.id)
            key = _inode(place_of(entry, file))
            if key is not None:
                by_file.setdefault(key, entry.id)
    return [msgspec.structs.replace(each, here=_here(each, by_hash, by_file)) for each in found]


def _here(found: Found, by_hash: dict[str, str], by_file: dict[tuple[int, int], str]) -> str | None:
    file = found.files[0]
    key = _inode(file.path)
    return by_hash.get(file.sha256 or "") or (by_file.get(key) if key else None)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a path that came from outside stays a string
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
