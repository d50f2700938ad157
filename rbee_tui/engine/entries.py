"""The reading side of a catalog: each directory becomes an entry, whatever it holds; nothing is dropped.

Paths are strings here: with thousands of models, a Path for each would cost more than all else.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from operator import attrgetter
from typing import Any, Generic, NamedTuple, cast

import msgspec

from rbee_tui.engine import health, ids, metadata
from rbee_tui.engine.artifacts import AVAILABLE, ArtifactT, Entry, Health, Model
from rbee_tui.engine.errors import MetadataError, UsageError
from rbee_tui.engine.metadata import NAME
from rbee_tui.engine.paths import SHARED_MODE
from rbee_tui.engine.text import clean

FILE_MODE = 0o644
# A FIFO in the place of a file must not stop a listing; a link must not lead out.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FIRST_READ = 1 << 16
_in_common = attrgetter("version", "format", "architecture", "quantization", "license")
_of_one_source = attrgetter("repo", "revision", "requested_revision")


class Found(msgspec.Struct, Generic[ArtifactT], gc=False):
    """What lies under one name in a catalog's directory."""

    name: str
    entry: Entry[ArtifactT]
    says: str | None
    """The id that its metadata says; None when it cannot be read."""
    foreign_mode: bool = False
    """Whether its metadata has another mode than ours have: it came by another hand."""


def names_in(path: str) -> Iterator[str]:
    """The names in a catalog's directory that stand for something: all but hidden ones and stray files."""
    with os.scandir(path) as found:
        yield from (item.name for item in found if item.name[0] != "." and _counts(item))


def _counts(item: os.DirEntry[str]) -> bool:
    return item.is_dir(follow_symlinks=False) or item.is_symlink() or _is_loose(item.name)


def _is_loose(name: str) -> bool:
    return name.lower().endswith(".gguf")


def read_all(base: str, kind: type[ArtifactT]) -> Iterator[Found[ArtifactT]]:
    """As `read_each()`, for who keeps them all: what they have in common is there once."""
    values: dict[Any, Any] = {}
    for found in read_each(base, kind):
        if isinstance(found.entry.artifact, Model):
            _share(found.entry, found.entry.artifact, values)
        yield found


def read_each(base: str, kind: type[ArtifactT]) -> Iterator[Found[ArtifactT]]:
    """What lies under every name, sorted; raises OSError when the catalog itself cannot be listed."""
    # Each name goes as its entry comes, so that thousands of entries take the room of their names.
    names = sorted(names_in(base), reverse=True)
    while names:
        with suppress(FileNotFoundError):  # removed since its name was read: no entry
            yield read(base, names.pop(), kind)


def _share(entry: Entry[Any], model: Model, values: dict[Any, Any]) -> None:
    """Let what models have in common be the same objects: of 10,000 that is a third of their memory."""
    same = cast("Callable[[Any, Any], Any]", values.setdefault)
    said = _in_common(model)
    model.version, model.format, model.architecture, model.quantization, model.license = map(same, said, said)
    said = _of_one_source(model)
    model.repo, model.revision, model.requested_revision = map(same, said, said)
    model.context_length = same(model.context_length, model.context_length)
    if model.status == AVAILABLE:
        model.status = AVAILABLE
    if entry.updated_at == model.verified_at:
        entry.updated_at = model.verified_at
    for file in model.files:
        file.role = same(file.role, file.role)
        if file.size_bytes == model.size_bytes:
            file.size_bytes = model.size_bytes
        if file.verified_at == model.verified_at:
            file.verified_at = model.verified_at


def read(base: str, name: str, kind: type[ArtifactT]) -> Found[ArtifactT]:
    """The entry under a name; an unreadable one is broken, with its reason. Raises FileNotFoundError."""
    path = f"{base}/{name}"
    try:
        handle = os.open(f"{path}/{NAME}", _OPEN)
    except OSError as error:
        return _unopened(path, name, kind, error)
    try:
        status = os.fstat(handle)
        raw = _content(handle, status)
        document = metadata.read(raw, kind)
    except MetadataError as error:
        return _broken(path, name, str(error))
    except OSError as error:
        return _broken(path, name, f"its {NAME} cannot be read: {error.strerror}")
    finally:
        os.close(handle)
    artifact = document.artifact
    verdict, reason = health.of(artifact, path)
    entry = Entry(
        id=artifact.id,
        artifact=artifact,
        health=verdict,
        reason=reason,
        created_at=document.created_at,
        updated_at=document.updated_at,
        directory=path,
    )
    foreign = stat.S_IMODE(status.st_mode) != FILE_MODE
    # The same string for both, as it is for nearly all.
    return Found(artifact.id if name == artifact.id else name, entry, artifact.id, foreign)


def raw_metadata(path: str) -> bytes:
    """The bytes of a directory's metadata.json; raises OSError, MetadataError."""
    handle = os.open(f"{path}/{NAME}", _OPEN)
    try:
        return _content(handle, os.fstat(handle))
    finally:
        os.close(handle)


def _content(handle: int, status: os.stat_result) -> bytes:
    if not stat.S_ISREG(status.st_mode):
        raise MetadataError(f"{NAME} is not a file")
    if status.st_size > metadata.MAX_BYTES:
        raise MetadataError(f"{NAME} is larger than {metadata.MAX_BYTES >> 20} MiB")
    raw = os.read(handle, _FIRST_READ)
    while len(raw) < status.st_size and (more := os.read(handle, status.st_size - len(raw))):
        raw += more
    return raw


def _unopened(path: str, name: str, kind: type[Any], error: OSError) -> Found[Any]:
    """What a name is whose metadata cannot be opened."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        return _broken(path, name, "it is a link, and rbee follows none")
    if stat.S_ISREG(found.st_mode):
        if kind is not Model:
            return _broken(path, name, "it is a file, not a directory")
        reason = f"a loose file: rbee models import --link {clean(path)} takes it up"
        return _broken(path, name, reason, Health.IMPORTABLE)
    if isinstance(error, FileNotFoundError):
        verdict, reason = health.of_nothing(path)
        return _broken(path, name, reason, verdict)
    with suppress(OSError):
        if stat.S_ISLNK(os.lstat(f"{path}/{NAME}").st_mode):
            return _broken(path, name, f"its {NAME} is a link, and rbee follows none")
    return _broken(path, name, f"its {NAME} cannot be read: {error.strerror}")


def _broken(path: str, name: str, reason: str, kind: Health = Health.BROKEN) -> Found[Any]:
    if kind is Health.BROKEN and health.is_being_written(path):
        kind, reason = Health.ARRIVING, f"its {NAME} is still empty"
    entry = Entry[Any](id=own_id(name), artifact=None, health=kind, reason=reason, directory=_text(path))
    return Found(name, entry, None)


def own_id(name: str) -> str:
    """The id that a directory's name stands for; a name made elsewhere is an id as it is."""
    return ids.artifact_id(name) or _text(name)


def _text(name: str) -> str:
    """A name from the disk as valid text: bytes that are no UTF-8 become visible escapes."""
    return name.encode(errors="backslashreplace").decode() if not name.isascii() else name


class Settled(NamedTuple, Generic[ArtifactT]):
    """Every entry under an id of its own, sorted by id."""

    entries: dict[str, Entry[ArtifactT]]
    astray: dict[str, str]
    """By id the names of those that do not lie in the directory that `ids.directory()` makes of it."""

    def found(self, id: str) -> Found[ArtifactT] | None:
        """What goes by this id; kept for 10,000 entries, the names alone would be a megabyte."""
        entry = self.entries.get(id)
        if entry is None:
            return None
        name = self.astray.get(id) or ids.directory(id)
        return Found(name, entry, entry.artifact.id if entry.artifact else None)


def settle(found: Iterable[Found[ArtifactT]]) -> Settled[ArtifactT]:
    """Give each find an id of its own.

    An id belongs to the directory that `ids.directory()` makes of it; then, by name, to the one whose
    metadata says it. What loses its id that way is broken, and goes by its directory's name.
    """
    settled = Settled[ArtifactT]({}, {})
    rest: list[Found[ArtifactT]] = []
    for each in found:
        wanted = each.entry.id
        if (each.name == wanted and ids.is_plain(wanted)) or _directory(wanted) == each.name:
            settled.entries[wanted] = each.entry
        else:
            rest.append(each)
    for each in sorted(rest, key=lambda one: (one.says is None, one.name)):
        _place(each, settled)
    return Settled({wanted: settled.entries[wanted] for wanted in sorted(settled.entries)}, settled.astray)


def _place(each: Found[ArtifactT], settled: Settled[ArtifactT]) -> None:
    entry = each.entry
    if not _valid(entry.directory, each.name):
        entry.artifact, entry.health = None, Health.BROKEN
        entry.reason, entry.id = "its directory's name is not valid text", own_id(each.name)
        entry.directory = _text(entry.directory)
    if other := settled.found(entry.id):
        if each.says is not None:
            entry.health = Health.BROKEN
            entry.reason = (
                f"it says that it is {clean(entry.id)}, and so does the directory {clean(other.name)}"
            )
        entry.id = own_id(each.name)
    number = 2
    while entry.id in settled.entries:
        entry.id = f"{own_id(each.name)} ({number})"
        number += 1
    settled.entries[entry.id] = entry
    settled.astray[entry.id] = each.name


def _valid(path: str, name: str) -> bool:
    return path.isascii() or (_text(path) == path and _text(name) == name)


def _directory(artifact_id: str) -> str | None:
    try:
        return ids.directory(artifact_id)
    except UsageError:
        return None


def set_right(path: str, kind: type[Any]) -> list[str]:
    """Give a directory and the files in it the modes that ours have; says what was another, as `name 664`.

    Of a worker only its metadata: its programs have modes of their own. Files with a second name elsewhere
    are somebody else's too, and links lead out: both are left alone.
    """
    changed: list[str] = []
    for at, inside, files, handle in os.fwalk(path, follow_symlinks=False):
        inner = os.path.relpath(at, path)
        if kind is not Model:
            inside.clear()
        ours = [name for name in files if name == NAME or (kind is Model and name[0] != ".")]
        wanted = [(".", SHARED_MODE), *((name, FILE_MODE) for name in ours)]
        for name, mode in wanted:
            before = _correct(handle, name, mode)
            if before is not None:
                changed.append(f"{os.path.normpath(os.path.join(inner, name))} {before:o}")  # noqa: PTH118 - as above
    return changed


def _correct(directory: int, name: str, mode: int) -> int | None:
    with suppress(OSError):
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        before = stat.S_IMODE(found.st_mode)
        ours = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
        if ours and before != mode and found.st_uid == os.geteuid():
            handle = os.open(name, _OPEN, dir_fd=directory)
            try:
                os.fchmod(handle, mode)
            finally:
                os.close(handle)
            return before
    return None
