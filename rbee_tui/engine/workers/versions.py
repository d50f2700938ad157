"""The versions of a worker that lie side by side in its directory: which are kept, and the way back to one.

Each has a directory of its own, with a metadata.json beside its files. The worker's own metadata.json is a
copy of the one in use, and names files beneath that directory: so a change of version is one rename.
"""

import os
import re
from pathlib import Path

import msgspec

from rbee_tui.engine import entries, health, metadata
from rbee_tui.engine.artifacts import Entry, Health, Worker
from rbee_tui.engine.catalog import METADATA, Removed, WorkerCatalog
from rbee_tui.engine.errors import MetadataError, NotFoundError, RefusedError
from rbee_tui.engine.text import clean

KEPT = 3
"""The version in use and so many less one before it; older ones go when a newer one comes."""
_FOREIGN = re.compile(r"[^a-z0-9._+-]+")


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a worker that is here."""

    version: str
    installed_at: str
    in_use: bool
    directory: str
    """Its name beneath the worker's directory."""
    worker: Worker


def listed(entry: Entry[Worker]) -> list[Version]:
    """The versions of a worker, the newest install first; none for one that was registered."""
    if not entry.directory or not Path(entry.directory).is_dir():
        return []
    used = directory_in_use(entry.artifact) if entry.artifact else ""
    with os.scandir(entry.directory) as scanned:
        names = [each.name for each in scanned if each.is_dir(follow_symlinks=False) and each.name[0] != "."]
    found = [each for name in names if (each := _read(entry, name, used)) is not None]
    return [version for version, _ in sorted(found, key=lambda each: each[1], reverse=True)]


def directory_in_use(worker: Worker) -> str:
    """The directory of the version that a worker's metadata names; empty for one without versions."""
    first, slash, _ = worker.binary_path.partition("/")
    return first if slash else ""


def _read(entry: Entry[Worker], name: str, used: str) -> tuple[Version, tuple[str, int]] | None:
    path = Path(entry.directory, name)
    try:
        document = metadata.read(entries.raw_metadata(str(path)), Worker)
        stamp = (path / METADATA).stat().st_mtime_ns
    except (OSError, MetadataError):
        return None
    worker = document.artifact
    if worker.id != entry.id or directory_in_use(worker) != name:
        return None
    made = Version(
        version=worker.version,
        installed_at=document.created_at or "",
        in_use=name == used,
        directory=name,
        worker=worker,
    )
    return made, (made.installed_at, stamp)


def split(worker_id: str) -> tuple[str, str]:
    """The two parts of `ID@VERSION`; the second is empty for an id alone."""
    name, _, version = worker_id.partition("@")
    return name, version


def get(workers: WorkerCatalog, worker_id: str) -> Entry[Worker]:
    """The entry of a worker, or of one version of it as `ID@VERSION`; raises NotFoundError."""
    name, version = split(worker_id)
    if not version or workers.contains(worker_id):
        return workers.get(worker_id)
    entry = workers.get(name)
    found = find(entry, version)
    verdict, reason = health.of_worker(found.worker, entry.directory)
    return msgspec.structs.replace(entry, artifact=found.worker, health=verdict, reason=reason)


def find(entry: Entry[Worker], version: str) -> Version:
    """A version of a worker by its name; raises NotFoundError with those that there are."""
    known = listed(entry)
    for each in known:
        if version in (each.version, each.directory):
            return each
    names = ", ".join(clean(each.version) for each in known) or "none beside the one in use"
    raise NotFoundError(
        f"{clean(entry.id)} has no version {clean(version)!r} here", hint=f"there are {names}"
    )


def before(entry: Entry[Worker]) -> Version:
    """The version that was installed before the one in use; raises NotFoundError where there is none."""
    known = listed(entry)
    at = next((index for index, each in enumerate(known) if each.in_use), len(known))
    for each in known[at + 1 :]:
        return each
    raise NotFoundError(
        f"no earlier version of {clean(entry.id)} is here",
        hint=f"rbee workers versions {clean(entry.id)} lists those that are",
    )


def name_before(entry: Entry[Worker]) -> str:
    """The version that was installed before the one in use; empty where there is none."""
    try:
        return before(entry).version
    except NotFoundError:
        return ""


def use(workers: WorkerCatalog, worker_id: str, version: str = "") -> Entry[Worker]:
    """Take another version into use, the one before without a name; the others stay.

    Raises NotFoundError, RefusedError for one whose files are not whole, BusyError.
    """
    with workers.lock(worker_id, "workers rollback"):
        entry = workers.get(worker_id)
        wanted = find(entry, version) if version else before(entry)
        verdict, reason = health.of_worker(wanted.worker, entry.directory)
        if verdict is not Health.OK:
            raise RefusedError(
                f"version {clean(wanted.version)} of {clean(worker_id)} is {verdict}: {reason}"
            )
        return workers.change(worker_id, lambda _: wanted.worker)


def remove(workers: WorkerCatalog, worker_id: str, version: str) -> Removed:
    """Remove a version that is not in use, with its files; raises RefusedError, NotFoundError, BusyError."""
    from rbee_tui.engine import removal  # noqa: PLC0415 - only a removal needs it

    with workers.lock(worker_id, "workers remove"):
        entry = workers.get(worker_id)
        found = find(entry, version)
        if found.in_use:
            raise RefusedError(
                f"version {clean(version)} of {clean(worker_id)} is the one in use",
                hint=f"rbee workers rollback {clean(worker_id)} takes another; "
                f"rbee workers remove {clean(worker_id)} removes all",
            )
        path = Path(entry.directory, found.directory)
        files, freed, *_ = removal.weigh(path)
        removal.discard(removal.take_away(path, workers.path))
    return Removed(id=f"{worker_id}@{found.version}", freed_bytes=freed, files=files)


def free_name(place: Path, version: str) -> str:
    """A directory's name for a version that no other has there."""
    name = _FOREIGN.sub("_", version.lower()).strip(".")[:60] or "unnamed"
    taken = {METADATA, *(path.name for path in place.iterdir())} if place.is_dir() else {METADATA}
    numbered = (f"{name}~{number}" for number in range(2, len(taken) + 3))
    return next(each for each in (name, *numbered) if each not in taken)


def superfluous(entry: Entry[Worker]) -> list[str]:
    """What a worker's directory holds besides its metadata and the versions that are kept."""
    known = listed(entry)
    newest_first = [each.directory for each in known if each.in_use] + [
        each.directory for each in known if not each.in_use
    ]
    # Installed twice, a version is kept once: the older copy was replaced.
    used = {each.version for each in known if each.in_use}
    copies = {each.directory for each in known if not each.in_use and each.version in used}
    keep = {METADATA, *[name for name in newest_first if name not in copies][:KEPT]}
    return sorted(path.name for path in Path(entry.directory).iterdir() if path.name not in keep)
