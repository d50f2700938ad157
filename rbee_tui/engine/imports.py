"""Taking up files that lie on this disk: copied, linked or left in place, hashed on the way, then listed."""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rbee_tui.engine import gguf, origins
from rbee_tui.engine.artifacts import Entry, Model, ModelFile
from rbee_tui.engine.choices import quantization_of, safe_path
from rbee_tui.engine.describe import role
from rbee_tui.engine.durable import storage, sync_file, write_all
from rbee_tui.engine.elsewhere import hubcache
from rbee_tui.engine.entries import FILE_MODE
from rbee_tui.engine.errors import (
    BusyError,
    IntegrityError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from rbee_tui.engine.ids import default_model_id, directory, lock_name
from rbee_tui.engine.origins import Origin
from rbee_tui.engine.paths import SHARED_MODE, beneath, make_directory, sync_directory
from rbee_tui.engine.text import clean, now, size
from rbee_tui.engine.transfer.source import Stopped

if TYPE_CHECKING:
    from rbee_tui.engine.catalog import ModelCatalog
    from rbee_tui.engine.elsewhere import Found

How = Literal["copy", "link", "in place"]
"""`link`: a hard link, which takes no room; `in place`: the file stays where it lies, another's."""

_READ = 1 << 20
_VERB = "models import"
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


class Incoming(NamedTuple):
    """A file that is taken up: where it lies, what it is called here, the hash that it has to have."""

    path: Path
    name: str
    sha256: str | None = None


def import_gguf(catalog: "ModelCatalog", path: Path, model_id: str | None, how: How) -> Entry[Model]:
    """Bring a file and its other shards to `models/<id>/`; see `ModelCatalog.import_gguf`."""
    sources = with_shards(path)
    gguf.read(sources[0])
    wanted = model_id or default_model_id("", path.name)
    loose = all(source.parent == catalog.path for source in sources)
    incoming = [Incoming(source, source.name, hubcache.promised_hash(source)) for source in sources]
    entry = _take_up(catalog, wanted, incoming, "link" if loose else how, origins.of_file(sources[0]))
    if loose:
        for source in sources:
            with storage("move", source):
                source.unlink()
    return entry


def adopt(catalog: "ModelCatalog", found: "Found", model_id: str | None, how: How) -> Entry[Model]:
    """Take up another program's model; see `ModelCatalog.adopt`."""
    incoming = [Incoming(Path(file.path), file.name, file.sha256) for file in found.files]
    first = found.source_path or (found.files[0].name if found.format == "gguf" else None)
    wanted = model_id or default_model_id(found.repo or found.id, first)
    if how == "link" and not all(_linkable(each.path, catalog.path) for each in incoming):
        how = "in place"
    return _take_up(catalog, wanted, incoming, how, origins.of_found(found))


def _take_up(
    catalog: "ModelCatalog", wanted: str, incoming: list[Incoming], how: How, origin: Origin
) -> Entry[Model]:
    directory(wanted)
    with catalog.lock(wanted, _VERB):
        _refuse_other(catalog, wanted, origin)
        _sweep(catalog)
        files = _in_place(incoming) if how == "in place" else _bring(catalog, wanted, incoming, how)
        return catalog.add_locked(_described(wanted, incoming, files, origin))


def _described(wanted: str, incoming: list[Incoming], files: list[ModelFile], origin: Origin) -> Model:
    """The model with what its header says, where it has one."""
    weights = next((each for each in incoming if each.name.lower().endswith(".gguf")), None)
    header = gguf.read(weights.path) if weights else None
    quantization = (header.quantization if header else None) or quantization_of(incoming[0].name)
    return Model(
        id=wanted,
        name=clean((header.name if header else "") or "") or Path(incoming[0].name).stem,
        version=quantization or (origin.commit or "")[:12] or "1.0",
        size_bytes=sum(file.size_bytes for file in files),
        source_url=origin.url,
        repo=origin.repo,
        revision=origin.commit,
        requested_revision=origin.requested,
        files=tuple(files),
        format="gguf" if weights else "safetensors",
        architecture=header.architecture if header else None,
        quantization=quantization,
        context_length=header.context_length if header else None,
        verified_at=now(),
        license=header.license if header else None,
    )


def with_shards(path: Path) -> list[Path]:
    """The file and the other shards that its name speaks of, in order.

    Raises NotFoundError for one that is not there, UsageError and MetadataError for names that none has.
    """
    if not safe_path(path.name) or path.suffix.lower() != ".gguf":
        raise UsageError(f"{clean(path.name)!r} is not the name of a GGUF file")
    found = gguf.shards(path)
    for each in found:
        with storage("read", each):
            try:
                mode = each.stat().st_mode
            except FileNotFoundError:
                raise NotFoundError(f"there is no file {clean(str(each))}") from None
        if not stat.S_ISREG(mode):
            raise RefusedError(f"{clean(str(each))} is not a file")
    return found


def _refuse_other(catalog: "ModelCatalog", model_id: str, origin: Origin) -> None:
    """Raise RefusedError, before anything is copied, where another source has the id."""
    try:
        entry = catalog.get(model_id)
    except NotFoundError:
        return
    if entry.artifact is not None and entry.artifact.source_url == origin.url:
        return
    raise RefusedError(
        f"there is a model {clean(model_id)!r} already",
        hint="choose another id with --id, or remove that one first",
    )


def _in_place(incoming: Sequence[Incoming]) -> list[ModelFile]:
    return [_file(each, hash_file(each.path), outside=str(each.path.absolute())) for each in incoming]


def _bring(catalog: "ModelCatalog", model_id: str, incoming: Sequence[Incoming], how: How) -> list[ModelFile]:
    """Publish every file, all of them or none."""
    parts = [part_path(catalog, model_id, number) for number in range(len(incoming))]
    try:
        if how == "copy":
            _require_room(incoming, parts[0].parent)
        files = [
            _file(each, link(each.path, part) if how == "link" else copy(each.path, part))
            for each, part in zip(incoming, parts, strict=True)
        ]
        target = make_directory(catalog.directory(model_id), SHARED_MODE)
        with storage("publish to", target):
            for each, part in zip(incoming, parts, strict=True):
                make_directory(beneath(target, each.name).parent, SHARED_MODE)
                _publish(part, target / each.name)
            sync_directory(target)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return files


def _file(each: Incoming, sha256: str, *, outside: str | None = None) -> ModelFile:
    """A file as the catalog lists it; raises IntegrityError where its place promises another hash."""
    if each.sha256 is not None and each.sha256 != sha256:
        raise IntegrityError(
            f"{clean(str(each.path))} does not hold the bytes that it is named after",
            hint="the program whose it is can fetch it again; rbee pull brings it as it should be",
        )
    return ModelFile(
        path=each.name,
        size_bytes=each.path.stat().st_size,
        sha256=sha256,
        role=role(each.name),
        verified_at=now(),
        outside=outside,
    )


def _publish(part: Path, target: Path) -> None:
    # rename(2) of two names of one file does nothing at all: a link that is taken up again stays as it is.
    part.replace(target)


def part_path(catalog: "ModelCatalog", model_id: str, number: int) -> Path:
    """Where a file arrives; only the holder of the model's lock touches it."""
    return catalog.root.part_directory() / f"import-{lock_name(model_id)[:200]}.{number}.part"


def _sweep(catalog: "ModelCatalog") -> None:
    """Remove what killed imports left, where nobody imports under that id now."""
    for part in catalog.root.part_directory().glob("import-*.part"):
        name = part.name.removeprefix("import-").rsplit(".", 2)[0]
        lock = catalog.name_lock(name, _VERB)
        try:
            with lock:
                part.unlink(missing_ok=True)
        except BusyError:
            continue


def _require_room(incoming: Sequence[Incoming], where: Path) -> None:
    needed = sum(each.path.stat().st_size for each in incoming)
    found = os.statvfs(where)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise NoSpaceError(
            f"a copy needs {size(needed)}, and the disk has {size(free)} free",
            hint="--link takes no room where the file is on the same disk, --in-place none at all",
        )


def _linkable(path: Path, catalog: Path) -> bool:
    """Whether a hard link may be had: on the same disk, and not of another user's file."""
    with storage("read", path):
        found = path.stat()
    return found.st_dev == catalog.stat().st_dev and found.st_uid == os.geteuid()


def link(source: Path, part: Path) -> str:
    """A hard link to the file that is meant; its sha256. Raises RefusedError where none can be made."""
    part.unlink(missing_ok=True)
    with storage("link", source):
        try:
            # A link in the cache of another program leads to the file that is meant.
            os.link(source.resolve(), part)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            raise RefusedError(
                f"{clean(str(source))} cannot be linked: it is on another disk, or the disk has no links",
                hint="import it as a copy, or with --in-place",
            ) from error
    return hash_file(part)


def hash_file(path: Path) -> str:
    """The sha256 of a file; raises StorageError."""
    with storage("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(source: Path, part: Path, stop: threading.Event | None = None) -> str:
    """Copy a file durably; its sha256. Raises transfer.Stopped once `stop` is set."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with storage("copy", source), source.open("rb", buffering=0) as file:
        handle = os.open(part, flags, FILE_MODE)
        try:
            while count := file.readinto(buffer):
                if stop is not None and stop.is_set():
                    raise Stopped
                digest.update(buffer[:count])
                write_all(handle, buffer[:count])
            os.fchmod(handle, FILE_MODE)
            sync_file(handle)
        finally:
            os.close(handle)
    return digest.hexdigest()
