"""The same bytes on this disk already, another model's or another program's: they are not fetched again."""

import os
import threading
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rbee_tui.engine import imports, transfer
from rbee_tui.engine.artifacts import Entry, Health, Model
from rbee_tui.engine.describe import place_of
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.elsewhere import Found, Place, files, hubcache, ollama, places
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.jobs import PlannedFile, Record
from rbee_tui.engine.paths import SHARED_MODE, make_directory, sync_directory
from rbee_tui.engine.text import clean
from rbee_tui.engine.transfer import Progress, Source, hashing

if TYPE_CHECKING:
    from rbee_tui.engine.catalog import ModelCatalog

_SUFFIX = ".twin"


class Twin(msgspec.Struct, frozen=True, kw_only=True):
    """A file that says it has a planned one's bytes; it is believed once it was hashed."""

    target: str
    """Of the planned file."""
    path: str
    whose: str
    """The program's name, or the model's id."""
    size_bytes: int
    linkable: bool
    """Whether it takes no room here."""


class Nearby:
    """The twins of a job's files, looked for once, when the first of them is wanted."""

    def __init__(self, models: "ModelCatalog", record: Record, facts: Facts) -> None:
        self._models = models
        self._facts = facts
        self._record = record
        self._lock = threading.Lock()
        self._found: list[Twin] | None = None

    def take(
        self,
        planned: PlannedFile,
        source: Source,
        *,
        part: Path,
        target: Path,
        lock: Path,
        stop: threading.Event,
        progress: Progress,
    ) -> bool:
        """Whether the file's bytes were on this disk already, and are in its place now; it is told.

        Raises BusyError when another process has the lock, Stopped.
        """
        for twin in self.of(planned):
            if take(twin, source, part=part, target=target, lock=lock, stop=stop, progress=progress):
                text = f"{planned.target} is on this disk already ({twin.whose}): none of it is fetched"
                self._facts.tell("job.found", self._record.id, clean(text))
                return True
        return False

    def of(self, planned: PlannedFile) -> list[Twin]:
        """Of one of the job's files; a repair fetches, as the file here is what is wrong."""
        if self._record.repairs:
            return []
        with self._lock:
            if self._found is None:
                at = self._models.root.part_directory()
                self._found = twins(self._record.files, self._models.each(), at)
        return [twin for twin in self._found if twin.target == planned.target]


def twins(
    wanted: Sequence[PlannedFile],
    entries: Iterable[Entry[Model]],
    at: Path,
    where: Sequence[Place] | None = None,
) -> list[Twin]:
    """For each planned file those that may be the same, the likeliest first; `at` is where it would go.

    Hashes decide where names tell them, else size and name. Blocking; reads directories alone.
    """
    hashed = [file for file in wanted if file.sha256]
    if not hashed:
        return []
    known = list(places() if where is None else where)
    loose = [found for place in known if place.layout == "files" for found in _files(place)]
    mine = _by_hash(entries, {file.sha256 for file in hashed})
    device = at.stat().st_dev
    return [
        twin
        for file in hashed
        for path, whose in [
            *mine.get(file.sha256 or "", []),
            *_named_after(file.sha256 or "", known),
            *_alike(file, loose),
        ]
        if (twin := _twin(file, path, whose, device))
    ]


def _by_hash(
    entries: Iterable[Entry[Model]], wanted: Container[str | None]
) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for entry in entries:
        if entry.artifact is not None and entry.health is Health.OK:
            for file in entry.artifact.files:
                if file.sha256 and file.sha256 in wanted:
                    found.setdefault(file.sha256, []).append((place_of(entry, file), entry.id))
    return found


def _named_after(sha256: str, known: Sequence[Place]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for place in known:
        if place.layout == "hub":
            found += [(str(path), place.program) for path in hubcache.blobs(Path(place.path), sha256)]
        elif place.layout == "ollama":
            found.append((str(ollama.blob(Path(place.path), sha256)), place.program))
    return found


def _files(place: Place) -> list[Found]:
    base = Path(place.path)
    return list(files.look(base, place.program)) if base.is_dir() else []


def _alike(file: PlannedFile, loose: Sequence[Found]) -> list[tuple[str, str]]:
    name = file.path.rpartition("/")[2]
    return [
        (each.path, found.program)
        for found in loose
        for each in found.files
        if each.name == name and each.size_bytes == file.size_bytes
    ]


def _twin(file: PlannedFile, path: str, whose: str, device: int) -> Twin | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a path that came from outside stays a string
    except OSError:
        return None
    if status.st_size != file.size_bytes:
        return None
    linkable = status.st_dev == device and status.st_uid == os.geteuid()
    return Twin(target=file.target, path=path, whose=whose, size_bytes=file.size_bytes, linkable=linkable)


def take(
    twin: Twin,
    source: Source,
    *,
    part: Path,
    target: Path,
    lock: Path,
    stop: threading.Event,
    progress: Progress,
) -> bool:
    """Publish a file's twin as the file, linked or copied, once its hash is right; False where it is not.

    What has arrived of the file goes then. Raises BusyError when another process has the lock, Stopped.
    """
    own = part.with_name(part.name + _SUFFIX)
    with Lock(lock, "download"):
        try:
            if not _brought(Path(twin.path), own, stop):
                return False
            progress.state = "hashing"
            if not hashing.file_matches(own, source, stop, progress):
                return False
            with storage("publish to", target):
                make_directory(target.parent, SHARED_MODE)
                own.replace(target)
                sync_directory(target.parent)
            transfer.discard(part)
        finally:
            own.unlink(missing_ok=True)
            progress.state = "waiting"
    progress.kept = progress.hashed = source.size_bytes
    progress.state = "done"
    return True


def sweep(part: Path) -> None:
    """Remove what a killed run has left of taking a twin."""
    with suppress(OSError):
        part.with_name(part.name + _SUFFIX).unlink(missing_ok=True)


def _brought(path: Path, own: Path, stop: threading.Event) -> bool:
    if stop.is_set():
        raise transfer.Stopped
    own.unlink(missing_ok=True)
    try:
        try:
            os.link(path.resolve(), own)
        except OSError:
            imports.copy(path, own, stop)
    except RbeeError:
        return False
    return True
