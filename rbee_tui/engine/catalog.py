"""The two catalogs: a directory for each artifact, its metadata.json the truth, many processes at once.

It is over 400 lines because each change of a metadata.json is one step under a lock, and all share its parts.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import msgspec

from rbee_tui.engine import durable, entries, health, ids, metadata
from rbee_tui.engine.artifacts import ArtifactT, Entry, Health, Model, Worker, resolve_binary
from rbee_tui.engine.claims import Claims
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.entries import Found, Settled
from rbee_tui.engine.errors import MetadataError, NotFoundError, RbeeError, RefusedError, UsageError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.paths import SHARED_MODE, Root, beneath, make_directory
from rbee_tui.engine.text import clean, now

if TYPE_CHECKING:
    from rbee_tui.engine.elsewhere import Found as FoundElsewhere
    from rbee_tui.engine.imports import How
    from rbee_tui.engine.transfer.source import Progress
    from rbee_tui.engine.verify import Verification

METADATA = metadata.NAME
_CHANGE_SECONDS = 30.0
_ADD_SECONDS = 10.0
_NEAR = 3


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a removal did; `freed_bytes` leaves out files that another name still holds."""

    id: str
    freed_bytes: int
    files: int


class Catalog(Generic[ArtifactT]):
    """One of the catalogs. Reading writes no metadata; every change is durable when it returns.

    Two locks: an artifact's own (`lock()`) says that its files are in use or in work; the catalog's, held for
    milliseconds, makes read-modify-write of a metadata.json one step.
    """

    noun: str
    kind: type[ArtifactT]

    def __init__(self, root: Root, path: Path) -> None:
        self.root = root
        self.path = path
        self.facts = Facts(root.facts)
        self._claims = Claims(str(path))

    # Reading

    def list(self) -> list[Entry[ArtifactT]]:
        """Every entry by id; unreadable ones are listed as broken, with their reason."""
        return list(self._scan().entries.values())

    def each(self) -> Iterator[Entry[ArtifactT]]:
        """The entries one at a time, for who looks for few among thousands; of twins both have their id."""
        with storage("list", self.path):
            for found in entries.read_each(str(self.path), self.kind):
                yield found.entry

    def get(self, id: str) -> Entry[ArtifactT]:
        """The entry with this id; raises NotFoundError with names that are near."""
        return self._find(id).entry

    def contains(self, id: str) -> bool:
        """Whether there is an entry with this id."""
        return self._find_any(id) is not None

    def peek(self, id: str) -> Entry[ArtifactT] | None:
        """The entry with this id; None where there is none."""
        found = self._find_any(id)
        return found.entry if found else None

    def directory(self, id: str) -> Path:
        """Where an artifact lies, or would lie; raises UsageError for an id that cannot have a directory."""
        found = self._find_any(id)
        return self.path / (found.name if found else ids.directory(id))

    def lock(self, id: str, verb: str, *, shared: bool = False) -> Lock:
        """The lock of an artifact's files, not yet taken; shared while they are read, exclusive to change."""
        return self.name_lock(ids.lock_name(id), verb, shared=shared)

    def name_lock(self, name: str, verb: str, *, shared: bool = False) -> Lock:
        """As `lock()`, by what `ids.lock_name()` makes of an id."""
        return Lock(self.root.locks / f"{self.noun}-{name}.lock", verb, shared=shared)

    # Changing

    def add(self, artifact: ArtifactT) -> Entry[ArtifactT]:
        """Add an artifact; one from the same source replaces what it said before. Raises RefusedError."""
        with self.lock(artifact.id, f"add {self.noun}").acquire(_ADD_SECONDS):
            return self.add_locked(artifact)

    def add_locked(self, artifact: ArtifactT) -> Entry[ArtifactT]:
        """As `add()`, for a caller that holds the artifact's lock."""
        name = ids.directory(artifact.id)
        with self._change_lock(f"add {self.noun}"):
            before: dict[str, Any] = {}
            entry: Entry[ArtifactT] | None = None
            found = self._find_any(artifact.id)
            if found is not None:
                name, entry = found.name, found.entry
                self._require_same(artifact, found)
                before = self._object(found)
            self._write(name, artifact, before, entry)
        told = "added" if entry is None or entry.artifact is None else "updated"
        self.facts.tell(f"{self.noun}.{told}", artifact.id)
        return self._read(name, artifact.id)

    def update(self, id: str, **changes: Any) -> Entry[ArtifactT]:
        """Change fields of an artifact; None takes a field away, unknown keys stay.

        An entry whose metadata cannot be read is written anew where `changes` hold all that it needs; the
        old text stays beside it. Raises NotFoundError, UsageError, MetadataError.
        """
        unknown = changes.keys() - set(self.kind.__struct_fields__)
        if unknown or "id" in changes:
            raise UsageError(f"a {self.noun} has no field {clean(min(unknown or {'id'}))!r} to change")
        return self.change(id, lambda artifact: msgspec.structs.replace(artifact, **changes), changes)

    def change(
        self,
        id: str,
        decide: Callable[[ArtifactT], ArtifactT],
        fields: dict[str, Any] | None = None,
        *,
        staged: Path | None = None,
    ) -> Entry[ArtifactT]:
        """Read an artifact, decide what it becomes and write it, in one step for all processes.

        `fields` make an artifact where there is none that can be read. A `staged` directory gets the new
        metadata and changes places with the artifact's.
        """
        with self._change_lock(f"update {self.noun}"):
            found = self._find(id)
            before = self._object(found)
            artifact = found.entry.artifact
            if artifact is None:
                artifact = self._anew(found, fields or {})
            self._write(found.name, decide(artifact), before, found.entry, staged)
        self.facts.tell(f"{self.noun}.updated", id)
        return self._read(found.name, id)

    def remove(self, id: str) -> Removed:
        """Remove an artifact and its files, following no link; raises BusyError while it is in use."""
        from rbee_tui.engine import removal  # noqa: PLC0415 - shutil, which a listing does not need

        with self.lock(id, f"remove {self.noun}"):
            with self._change_lock(f"remove {self.noun}"):
                path = self.path / self._find(id).name
                with storage("remove", path):
                    files, freed, *_ = removal.weigh(path)
                taken = removal.take_away(path)
            self.facts.tell(f"{self.noun}.removed", id)
            removal.discard(taken)
        return Removed(id=id, freed_bytes=freed, files=files)

    # Parts

    def _scan(self) -> Settled[ArtifactT]:
        with storage("list", self.path):
            return entries.settle(self._each())

    def _each(self) -> Iterator[Found[ArtifactT]]:
        for found in entries.read_all(str(self.path), self.kind):
            if found.foreign_mode:
                self._set_right(found)
            yield found

    def _find(self, id: str) -> Found[ArtifactT]:
        found = self._find_directly(id)
        if found is not None:
            return found
        everything = self._scan()
        found = everything.found(id)
        if found is None:
            near = self._near(id, everything.entries)
            raise NotFoundError(f"there is no {self.noun} {clean(id)!r}", hint=near)
        return found

    def _find_any(self, id: str) -> Found[ArtifactT] | None:
        """As `_find`, for those who only ask: where nobody claims the id, little is read."""
        found = self._find_directly(id)
        if found is None:
            with storage("list", self.path):
                claimed = self._claims.may_hold(id)
            found = self._scan().found(id) if claimed else None
        return found

    def _find_directly(self, id: str) -> Found[ArtifactT] | None:
        """The entry in the directory that this id has a right to; None where a scan has to find it."""
        try:
            name = ids.directory(id)
            found = entries.read(str(self.path), name, self.kind)
        except (UsageError, OSError):
            return None
        if found.foreign_mode:
            self._set_right(found)
        return found if found.says in (None, id) else None

    def _near(self, id: str, names: "dict[str, Any]") -> str:
        from difflib import get_close_matches  # noqa: PLC0415 - only for a name that is not there

        near = [clean(name) for name in get_close_matches(id, names, n=_NEAR)]
        return f"did you mean {' or '.join(near)}?" if near else f"rbee {self.noun}s list shows them"

    def _read(self, name: str, id: str) -> Entry[ArtifactT]:
        with storage("read", self.path / name):
            entry = entries.read(str(self.path), name, self.kind).entry
        entry.id = id
        return entry

    def _set_right(self, found: Found[ArtifactT]) -> None:
        """Give what other hands brought the modes that ours have, and tell it; a root of others stays."""
        with suppress(OSError, RbeeError):
            if changed := entries.set_right(f"{self.path}/{found.name}", self.kind):
                said = f"modes of {clean(found.entry.id)} are set right: {clean(', '.join(changed[:4]))}"
                self.facts.tell(f"{self.noun}.modes", found.entry.id, said)

    def _change_lock(self, verb: str) -> Lock:
        return Lock(self.root.locks / f"{self.noun}s.lock", verb).acquire(_CHANGE_SECONDS)

    def _require_same(self, artifact: ArtifactT, found: Found[ArtifactT]) -> None:
        """Raise RefusedError unless what is there may be replaced: the same source, or no metadata yet."""
        there = found.entry.artifact
        if (
            there is None
            and not os.path.lexists(f"{self.path}/{found.name}/{METADATA}")
            and self._is_directory(found)
        ):
            return  # files come before the metadata that names them
        if there is not None and self._same_source(there, artifact):
            return
        wrong = f", and it is {found.entry.health}: {found.entry.reason}" if found.entry.reason else ""
        raise RefusedError(
            f"there is a {self.noun} {clean(artifact.id)!r} already{wrong}",
            hint=f"choose another id with --id, or rbee {self.noun}s remove {clean(artifact.id)}",
        )

    def _is_directory(self, found: Found[ArtifactT]) -> bool:
        path = self.path / found.name
        return path.is_dir() and not path.is_symlink()

    def _same_source(self, one: ArtifactT, other: ArtifactT) -> bool:
        raise NotImplementedError

    def _object(self, found: Found[ArtifactT]) -> dict[str, Any]:
        """All keys of the metadata as it stands; none where it cannot be read."""
        try:
            return metadata.decode(entries.raw_metadata(f"{self.path}/{found.name}"))
        except (OSError, MetadataError):
            return {}

    def _anew(self, found: Found[ArtifactT], fields: dict[str, Any]) -> ArtifactT:
        """An artifact for a directory whose metadata is absent or unreadable; that text is kept."""
        entry = found.entry
        if not self._is_directory(found):
            raise RefusedError(f"{clean(entry.id)} cannot be changed: {entry.reason}")
        try:
            artifact = msgspec.convert(msgspec.to_builtins({"id": entry.id, **fields}), self.kind)
        except msgspec.ValidationError:
            raise MetadataError(
                f"{clean(entry.id)} cannot be changed: {entry.reason}",
                hint=f"rbee {self.noun}s remove {clean(entry.id)} takes it away",
            ) from None
        path = self.path / found.name / METADATA
        if path.is_file() and not path.is_symlink():
            with storage("keep the old", path):
                path.replace(path.with_name(f"{METADATA}.broken"))
        return artifact

    def _write(
        self,
        name: str,
        artifact: ArtifactT,
        before: dict[str, Any],
        entry: Entry[ArtifactT] | None,
        staged: Path | None = None,
    ) -> None:
        path = staged or beneath(self.path, name)
        stamp = now()
        created = (entry.created_at if entry else None) or stamp
        updated = max(stamp, (entry.updated_at if entry else None) or "")
        raw = metadata.encode(artifact, before, created, updated)
        metadata.read(raw, self.kind)
        make_directory(path, SHARED_MODE)
        # Whoever writes holds the change lock: what looks like a write under way was left by a killed one.
        durable.sweep(path / METADATA)
        durable.write(path / METADATA, raw, entries.FILE_MODE)
        if staged is not None:
            from rbee_tui.engine import switching  # noqa: PLC0415 - ctypes, which a listing does not need

            switching.exchange(staged, beneath(self.path, name))


class ModelCatalog(Catalog[Model]):
    """The downloaded and imported models of a root."""

    noun = "model"
    kind = Model

    def __init__(self, root: Root | None = None) -> None:
        root = root or Root.find().prepare()
        super().__init__(root, root.models)

    def add_model(self, model: Model) -> Entry[Model]:
        """Add a model; raises RefusedError when another source has its id."""
        return self.add(model)

    def files(self, entry: Entry[Model]) -> list[Path]:
        """The absolute paths of a model's files; what an entry without a list has beside its metadata.

        Raises RefusedError for a path that leads out of the model's directory.
        """
        if entry.artifact is None:
            return []
        return [path for _, path in self._named_files(entry, entry.artifact)]

    def _named_files(self, entry: Entry[Model], model: Model) -> list[tuple[str, Path]]:
        at, outside = Path(entry.directory), {file.path: file.outside for file in model.files}
        names = [name for name, _ in health.files_of(model, entry.directory)]
        return [(name, Path(away) if (away := outside.get(name)) else beneath(at, name)) for name in names]

    def weights(self, entry: Entry[Model]) -> Path:
        """The file that a worker is started on: the first GGUF shard; raises RefusedError."""
        found = self._gguf(entry, projectors=False)
        if not found:
            raise RefusedError(
                f"{clean(entry.id)} has no GGUF file", hint="the workers here serve GGUF models only"
            )
        return found[0]

    def projector(self, entry: Entry[Model]) -> Path | None:
        """The file that lets a model see or hear; None where it has none."""
        return next(iter(self._gguf(entry, projectors=True)), None)

    def _gguf(self, entry: Entry[Model], *, projectors: bool) -> list[Path]:
        """Its GGUF files in the order of their names; what is no file of weights goes by its role or name."""
        if entry.artifact is None:
            return []
        roles = {file.path: file.role for file in entry.artifact.files}
        wanted = "projector" if projectors else "weights"
        return [
            path
            for name, path in sorted(self._named_files(entry, entry.artifact))
            if name.lower().endswith(".gguf") and _role(name, roles.get(name, "weights")) == wanted
        ]

    def verify(
        self, id: str, progress: "Progress | None" = None, stop: threading.Event | None = None
    ) -> "Verification":
        """Compare a model's files with their hashes; what is found is stored, and told.

        Blocking; `progress.received` counts whole files, `progress.hashed` within one. Raises NotFoundError,
        BusyError while somebody changes the files, StorageError, and transfer.Stopped once `stop` is set.
        """
        from rbee_tui.engine import verify  # noqa: PLC0415 - a listing hashes nothing
        from rbee_tui.engine.transfer.source import Progress  # noqa: PLC0415 - as above

        with self.lock(id, "verify", shared=True):
            entry, stamp = self.get(id), now()
            found = verify.verify(entry, stop or threading.Event(), progress or Progress(), stamp)
            if entry.artifact is not None and found.files:
                self.change(id, lambda model: verify.outcome(model, found, stamp))
                kind = "model.verified" if found.ok else "model.damaged"
                self.facts.tell(kind, id, found.reason or f"{clean(id)} is as it should be")
        return found

    def import_gguf(self, path: Path, id: str | None = None, *, how: "How" = "copy") -> Entry[Model]:
        """Take up a GGUF file of this disk, with its shards: a copy, a hard link or in place; it is hashed.

        In place it stays where it lies, another's. A loose file in models/ itself is moved. Raises
        MetadataError for what is no GGUF file, RefusedError for an id that is taken, NotFoundError,
        BusyError, NoSpaceError, IntegrityError where the Hub's cache names it after another hash.
        """
        from rbee_tui.engine import imports  # noqa: PLC0415 - a listing takes up nothing

        return imports.import_gguf(self, path, id, how)

    def adopt(self, found: "FoundElsewhere", id: str | None = None, *, how: "How" = "link") -> Entry[Model]:
        """Take up a model of another program's as it lies: hard links, or in place on another disk.

        Its repository and commit are learnt where they are known. Raises as `import_gguf`.
        """
        from rbee_tui.engine import imports  # noqa: PLC0415 - as above

        return imports.adopt(self, found, id, how)

    def importable(self) -> list[Path]:
        """GGUF files that lie loose in models/, without an entry of their own."""
        return [Path(each.directory) for each in self.list() if each.health is Health.IMPORTABLE]

    def _same_source(self, one: Model, other: Model) -> bool:
        return one.source_url == other.source_url or (one.repo is not None and one.repo == other.repo)


def _role(name: str, told: str) -> str:
    """What a file is for: a projector that nobody marked as one tells by its name."""
    named = name.rpartition("/")[2].lower().startswith("mmproj")
    return "projector" if named and told == "weights" else told


class WorkerCatalog(Catalog[Worker]):
    """The installed and registered workers of a root."""

    noun = "worker"
    kind = Worker

    def __init__(self, root: Root | None = None) -> None:
        root = root or Root.find().prepare()
        super().__init__(root, root.workers)

    def register_worker(self, worker: Worker) -> Entry[Worker]:
        """Register a worker binary; raises UsageError when it is not there or may not be executed."""
        if not worker.binary_path.startswith("/") and not metadata.inside(worker.binary_path):
            raise UsageError(f"the binary {clean(worker.binary_path)!r} is outside the worker's directory")
        binary = resolve_binary(worker, self.directory(worker.id))
        said = clean(str(binary))
        if not binary.is_file():
            raise UsageError(f"there is no file {said}")
        if not os.access(binary, os.X_OK):
            raise UsageError(f"{said} may not be executed", hint=f"chmod +x {said}")
        return self.add(worker)

    def find(self, worker_type: str | None = None) -> list[Entry[Worker]]:
        """The healthy workers, of one type or of all."""
        healthy = [entry for entry in self.list() if entry.health is Health.OK]
        return [e for e in healthy if e.artifact and worker_type in (None, e.artifact.worker_type)]

    def _same_source(self, one: Worker, other: Worker) -> bool:
        return one.binary_path == other.binary_path
