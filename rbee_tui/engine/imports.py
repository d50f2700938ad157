"""Taking up a GGUF file that lies on this disk: copied or linked, hashed on the way, then listed."""

import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from rbee_tui.engine import gguf
from rbee_tui.engine.artifacts import Entry, Model, ModelFile
from rbee_tui.engine.choices import quantization_of, safe_path
from rbee_tui.engine.durable import storage, sync_file, write_all
from rbee_tui.engine.entries import FILE_MODE
from rbee_tui.engine.errors import (
    BusyError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from rbee_tui.engine.ids import default_model_id, directory, lock_name
from rbee_tui.engine.paths import SHARED_MODE, make_directory, sync_directory
from rbee_tui.engine.text import clean, now, size

if TYPE_CHECKING:
    from rbee_tui.engine.catalog import ModelCatalog

_READ = 1 << 20
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)
_MOST_SHARDS = 1000
_VERB = "models import"


def import_gguf(catalog: "ModelCatalog", path: Path, model_id: str | None, *, link: bool) -> Entry[Model]:
    """Bring a file and its other shards to `models/<id>/`; see `ModelCatalog.import_gguf`."""
    sources = with_shards(path)
    header = gguf.read(sources[0])
    wanted = model_id or default_model_id("", path.name)
    directory(wanted)
    with catalog.lock(wanted, _VERB):
        refuse_other(catalog, wanted, sources[0])
        _sweep(catalog)
        loose = all(source.parent == catalog.path for source in sources)
        files = _bring(catalog, wanted, sources, link=link or loose)
        quantization = header.quantization or quantization_of(path.name)
        entry = catalog.add_locked(
            Model(
                id=wanted,
                name=clean(header.name or "") or sources[0].stem,
                version=quantization or "1.0",
                size_bytes=sum(file.size_bytes for file in files),
                source_url=sources[0].absolute().as_uri(),
                files=files,
                format="gguf",
                architecture=header.architecture,
                quantization=quantization,
                context_length=header.context_length,
                verified_at=now(),
                license=header.license,
            )
        )
        if loose:
            for source in sources:
                with storage("move", source):
                    source.unlink()
        return entry


def with_shards(path: Path) -> list[Path]:
    """The file and the other shards that its name speaks of, in order.

    Raises NotFoundError for one that is not there, UsageError for a name that no GGUF file has here.
    """
    if not safe_path(path.name) or path.suffix.lower() != ".gguf":
        raise UsageError(f"{clean(path.name)!r} is not the name of a GGUF file")
    shard = _SHARD.search(path.name)
    total = int(shard[2]) if shard else 1
    if shard is None or not 0 < total <= _MOST_SHARDS:
        found = [path]
    else:
        start, end = shard.start(1), shard.end(1)
        found = [path.with_name(f"{path.name[:start]}{n:05d}{path.name[end:]}") for n in range(1, total + 1)]
    for each in found:
        with storage("read", each):
            try:
                mode = each.stat().st_mode
            except FileNotFoundError:
                raise NotFoundError(f"there is no file {clean(str(each))}") from None
        if not stat.S_ISREG(mode):
            raise RefusedError(f"{clean(str(each))} is not a file")
    return found


def refuse_other(catalog: "ModelCatalog", model_id: str, source: Path) -> None:
    """Raise RefusedError, before anything is copied, where another source has the id."""
    try:
        entry = catalog.get(model_id)
    except NotFoundError:
        return
    if entry.artifact is not None and entry.artifact.source_url == source.absolute().as_uri():
        return
    raise RefusedError(
        f"there is a model {clean(model_id)!r} already",
        hint="choose another id with --id, or remove that one first",
    )


def _bring(catalog: "ModelCatalog", model_id: str, sources: list[Path], *, link: bool) -> list[ModelFile]:
    """Publish every file, all of them or none."""
    parts = [part_path(catalog, model_id, number) for number in range(len(sources))]
    try:
        if not link:
            _require_room(sources, parts[0].parent)
        hashes = [
            _link(source, part) if link else _copy(source, part)
            for source, part in zip(sources, parts, strict=True)
        ]
        sizes = [part.stat().st_size for part in parts]
        target = make_directory(catalog.directory(model_id), SHARED_MODE)
        with storage("publish to", target):
            for source, part in zip(sources, parts, strict=True):
                _publish(part, target / source.name)
            sync_directory(target)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return [
        ModelFile(path=source.name, size_bytes=length, sha256=digest, verified_at=now())
        for source, length, digest in zip(sources, sizes, hashes, strict=True)
    ]


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


def _require_room(sources: list[Path], where: Path) -> None:
    needed = sum(source.stat().st_size for source in sources)
    found = os.statvfs(where)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise NoSpaceError(
            f"a copy needs {size(needed)}, and the disk has {size(free)} free",
            hint="--link takes no room where the file is on the same disk",
        )


def _link(source: Path, part: Path) -> str:
    part.unlink(missing_ok=True)
    with storage("link", source):
        try:
            # A link in the cache of another program leads to the file that is meant.
            os.link(source.resolve(), part)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            raise RefusedError(
                f"{clean(str(source))} cannot be linked: it is on another disk, or the disk has no links",
                hint="import it without --link, as a copy",
            ) from error
    with storage("read", source), part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, part: Path) -> str:
    """Copy a file durably; its sha256."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with storage("copy", source), source.open("rb", buffering=0) as file:
        copy = os.open(part, flags, FILE_MODE)
        try:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                write_all(copy, buffer[:count])
            os.fchmod(copy, FILE_MODE)
            sync_file(copy)
        finally:
            os.close(copy)
    return digest.hexdigest()
