"""The two catalogs: a directory for each artifact, metadata.json the truth, many processes at once."""

import os
import shutil
import threading
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic

import msgspec

from rbee_tui.engine import durable, health, imports, metadata
from rbee_tui.engine.artifacts import (
    AVAILABLE,
    ArtifactT,
    Entry,
    Health,
    Model,
    Worker,
    failed,
    resolve_binary,
)
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.errors import MetadataError, NotFoundError, RefusedError, UsageError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.ids import artifact_id, directory
from rbee_tui.engine.paths import SHARED_MODE, Root, beneath, make_directory, sync_directory
from rbee_tui.engine.text import clean, now
from rbee_tui.engine.transfer.source import Progress
from rbee_tui.engine.verify import Verification, check

METADATA = "metadata.json"
_LOCK_SECONDS = 10.0


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a removal did; `freed_bytes` leaves out files that another name still holds."""

    id: str
    freed_bytes: int
    files: int


class Catalog(Generic[ArtifactT]):
    """One of the catalogs; reading never writes, every change is durable when it returns."""

    noun: str
    kind: type[ArtifactT]

    path: Path

    def __init__(self, root: Root | None = None) -> None:
        self.root = root or Root.find().prepare()
        self.facts = Facts(self.root.facts)

    # Reading

    def list(self) -> list[Entry[ArtifactT]]:
        """Every entry by id; unreadable ones are listed as broken, with their reason."""
        found = [self._read(name) for name in self._names()]
        entries = [entry for entry in found if entry is not None]
        _mark_twins(entries)
        return sorted(entries, key=lambda entry: entry.id)

    def get(self, id: str) -> Entry[ArtifactT]:
        """The entry with this id; raises NotFoundError with names that are near."""
        name = directory(id)
        entry = self._read(name)
        if entry is not None and entry.id == id:
            return entry
        entries = self.list()
        for other in entries:
            if other.id == id:
                return other
        near = get_close_matches(id, [other.id for other in entries], n=3)
        hint = (
            f"did you mean {', '.join(map(clean, near))}?" if near else f"rbee {self.noun}s list shows them"
        )
        raise NotFoundError(f"there is no {self.noun} {clean(id)!r}", hint=hint)

    def contains(self, id: str) -> bool:
        """Whether there is an entry with this id."""
        try:
            self.get(id)
        except NotFoundError:
            return False
        return True

    def count(self) -> int:
        """How many entries there are."""
        return sum(1 for _ in self._names())

    def directory(self, id: str) -> Path:
        """Where an artifact lies, or would lie."""
        plain = self.path / directory(id)
        if plain.is_dir():
            return plain
        try:
            return Path(self.get(id).directory)
        except NotFoundError:
            return plain

    def lock(self, id: str, verb: str, *, shared: bool = False) -> Lock:
        """The lock of one artifact, not yet taken."""
        return Lock(self.root.locks / f"{self.noun}-{directory(id)[:200]}.lock", verb, shared=shared)

    # Changing

    def add(self, artifact: ArtifactT) -> Entry[ArtifactT]:
        """Add an artifact; raises RefusedError when its id is taken."""
        with self.lock(artifact.id, f"add {self.noun}").acquire(_LOCK_SECONDS):
            # Files come before the metadata that names them: they alone are no entry.
            if (self.directory(artifact.id) / METADATA).exists():
                raise RefusedError(f"there is a {self.noun} {clean(artifact.id)!r} already")
            self._write(artifact, {}, now())
        self.facts.tell(f"{self.noun}.added", artifact.id)
        return self.get(artifact.id)

    def update(self, id: str, **changes: Any) -> Entry[ArtifactT]:
        """Change fields of an artifact; unknown keys stay. Raises NotFoundError, MetadataError."""
        with self.lock(id, f"update {self.noun}").acquire(_LOCK_SECONDS):
            entry = self.get(id)
            if entry.artifact is None:
                raise MetadataError(f"{clean(id)} cannot be changed: {entry.reason}")
            before = metadata.decode((Path(entry.directory) / METADATA).read_bytes())
            artifact = msgspec.structs.replace(entry.artifact, **changes)
            self._write(artifact, before, entry.created_at or now(), Path(entry.directory))
        self.facts.tell(f"{self.noun}.updated", id)
        return self.get(id)

    def remove(self, id: str) -> Removed:
        """Remove an artifact and its files, following no link; raises BusyError while it is in use."""
        with self.lock(id, f"remove {self.noun}"):
            path = Path(self.get(id).directory)
            if path.is_symlink():
                raise RefusedError(f"{clean(str(path))} is a link: remove what it leads to by hand")
            files, freed = _weigh(path)
            with storage("remove", path):
                # Without its metadata it is no entry any more, whatever happens to the rest.
                (path / METADATA).unlink(missing_ok=True)
                shutil.rmtree(path)
                sync_directory(self.path)
        self.facts.tell(f"{self.noun}.removed", id)
        return Removed(id=id, freed_bytes=freed, files=files)

    # Parts

    def _names(self) -> Iterator[str]:
        with storage("list", self.path), os.scandir(self.path) as found:
            for item in found:
                if not item.name.startswith(".") and item.is_dir():
                    yield item.name

    def _read(self, name: str) -> Entry[ArtifactT] | None:
        """The entry in a directory; None when it holds nothing."""
        path = f"{self.path}/{name}"
        try:
            raw = _read_capped(f"{path}/{METADATA}")
        except FileNotFoundError:
            return self._without_metadata(name, path)
        except OSError as error:
            return self._broken(name, path, f"metadata.json cannot be read: {error.strerror}")
        try:
            document = metadata.convert(metadata.decode(raw), self.kind)
        except MetadataError as error:
            return self._broken(name, path, str(error))
        entry: Entry[ArtifactT] = Entry(
            id=document.artifact.id,
            artifact=document.artifact,
            health=Health.OK,
            created_at=document.created_at,
            updated_at=document.updated_at,
            directory=path,
        )
        entry.health, entry.reason = self._health(document.artifact, path)
        return entry

    def _without_metadata(self, name: str, path: str) -> Entry[ArtifactT] | None:
        if not os.path.isdir(path) or not os.listdir(path):  # noqa: PTH112, PTH208 - a listing's inner loop
            return None
        if health.changed_just_now(path):
            return self._broken(name, path, "its metadata.json has not arrived yet", Health.ARRIVING)
        return self._broken(name, path, "it has no metadata.json")

    def _broken(self, name: str, path: str, reason: str, kind: Health = Health.BROKEN) -> Entry[ArtifactT]:
        return Entry(id=artifact_id(name) or name, artifact=None, health=kind, reason=reason, directory=path)

    def _health(self, artifact: ArtifactT, path: str) -> tuple[Health, str]:
        """What the disk says of an entry that can be read."""
        return health.of(artifact, path)

    def _write(
        self, artifact: ArtifactT, before: dict[str, Any], created_at: str, path: Path | None = None
    ) -> None:
        path = make_directory(path or self.path / directory(artifact.id), SHARED_MODE)
        durable.write(path / METADATA, metadata.encode(artifact, before, created_at, now()))


class ModelCatalog(Catalog[Model]):
    """The downloaded and imported models of a root."""

    noun = "model"
    kind = Model

    def __init__(self, root: Root | None = None) -> None:
        super().__init__(root)
        self.path = self.root.models

    def add_model(self, model: Model) -> Entry[Model]:
        """Add a model; raises RefusedError when its id is taken."""
        return self.add(model)

    def files(self, entry: Entry[Model]) -> list[Path]:
        """The absolute paths of a model's files; what an entry without a list has beside its metadata."""
        if entry.artifact is None:
            return []
        return [
            beneath(Path(entry.directory), name)
            for name, _ in health.files_of(entry.artifact, entry.directory)
        ]

    def weights(self, entry: Entry[Model]) -> Path:
        """The file that a worker is started on: the first GGUF shard; raises RefusedError."""
        roles = {file.path: file.role for file in entry.artifact.files} if entry.artifact else {}
        found = sorted(
            path
            for path in self.files(entry)
            if path.suffix.lower() == ".gguf"
            and roles.get(str(path.relative_to(entry.directory))) != "projector"
        )
        if not found:
            raise RefusedError(
                f"{clean(entry.id)} has no GGUF file", hint="the workers here serve GGUF models only"
            )
        return found[0]

    def verify(
        self,
        id: str,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Verification:
        """Read a model's files and compare them with their hashes; what is found is stored, and told.

        Raises NotFoundError, and RefusedError for a model whose metadata names no files.
        """
        entry = self.get(id)
        if entry.artifact is None or not entry.artifact.files:
            raise RefusedError(f"{clean(id)} names no files that could be verified: {clean(entry.reason)}")
        asked, counters = stop or threading.Event(), progress or Progress(entry.artifact.size_bytes)
        checks = [check(Path(entry.directory), file, asked, counters) for file in entry.artifact.files]
        bad = [each for each in checks if each.result in ("wrong", "missing")]
        stamp = None if bad else now()
        if stamp:
            self.update(id, verified_at=stamp, **_well_again(entry.artifact))
        else:
            names = ", ".join(f"{clean(each.path)} is {each.result}" for each in bad[:3])
            self.update(id, verified_at=None, status=failed(f"verification: {names}"))
        return Verification(id=id, ok=not bad, verified_at=stamp, files=checks)

    def import_gguf(
        self,
        path: Path,
        id: str | None = None,
        *,
        link: bool = False,
    ) -> Entry[Model]:
        """Take up a GGUF file of this disk, as a copy or a hard link; it is hashed on the way.

        Raises MetadataError where it is not GGUF, NoSpaceError, RefusedError for an id that is taken.
        """
        return imports.import_gguf(self, path, id, link=link)

    def importable(self) -> list[Path]:
        """GGUF files that lie loose in models/, without an entry of their own."""
        with storage("list", self.path):
            return sorted(p for p in self.path.iterdir() if p.suffix.lower() == ".gguf" and p.is_file())


class WorkerCatalog(Catalog[Worker]):
    """The installed and registered workers of a root."""

    noun = "worker"
    kind = Worker

    def __init__(self, root: Root | None = None) -> None:
        super().__init__(root)
        self.path = self.root.workers

    def register_worker(self, worker: Worker) -> Entry[Worker]:
        """Register a worker binary; raises UsageError when it is not there or cannot be executed."""
        binary = resolve_binary(worker, self.path / directory(worker.id))
        if not binary.is_file():
            raise UsageError(f"there is no file {clean(str(binary))}")
        if not os.access(binary, os.X_OK):
            raise UsageError(
                f"{clean(str(binary))} may not be executed", hint=f"chmod +x {clean(str(binary))}"
            )
        return self.add(worker)

    def find(self, worker_type: str | None = None) -> list[Entry[Worker]]:
        """The healthy workers, of one type or of all."""
        return [
            entry
            for entry in self.list()
            if entry.health is Health.OK
            and entry.artifact is not None
            and (worker_type is None or entry.artifact.worker_type == worker_type)
        ]


def _well_again(model: Model) -> dict[str, Any]:
    """The status of a model whose files are right: one that failed a verification is available again."""
    return {"status": AVAILABLE} if isinstance(model.status, dict) else {}


def _read_capped(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, metadata.MAX_BYTES + 1)
    finally:
        os.close(handle)


def _weigh(path: Path) -> tuple[int, int]:
    """Files in a tree, and the bytes that removing them frees: a hard link elsewhere keeps its bytes."""
    files = freed = 0
    for at, _, names in os.walk(path):
        for name in names:
            found = Path(at, name).lstat()
            files += 1
            freed += found.st_blocks * 512 if found.st_nlink == 1 else 0
    return files, freed


def _mark_twins(entries: list[Entry[Any]]) -> None:
    """Two directories with one id: the one whose name the id makes is the entry, the other is broken."""
    seen: dict[str, Entry[Any]] = {}
    for entry in entries:
        twin = seen.setdefault(entry.id, entry)
        if twin is not entry:
            proper = directory(entry.id)
            wrong = twin if entry.directory.endswith(f"/{proper}") else entry
            seen[entry.id] = entry if wrong is twin else twin
            wrong.health = Health.BROKEN
            wrong.reason = f"another directory has the id {clean(entry.id)!r} too"
