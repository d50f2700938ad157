"""Taking up a GGUF file that lies on this disk."""

import errno
import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rbee_tui.engine import gguf
from rbee_tui.engine.artifacts import Entry, Model, ModelFile
from rbee_tui.engine.choices import quantization_of, safe_path
from rbee_tui.engine.durable import storage, sync_file
from rbee_tui.engine.errors import NoSpaceError, NotFoundError, RefusedError, UsageError
from rbee_tui.engine.ids import default_model_id
from rbee_tui.engine.paths import SHARED_MODE, make_directory, sync_directory
from rbee_tui.engine.text import clean, now, size

if TYPE_CHECKING:
    from rbee_tui.engine.catalog import ModelCatalog

_READ = 1 << 20
_FILE_MODE = 0o644


def import_gguf(catalog: "ModelCatalog", path: Path, model_id: str | None, *, link: bool) -> Entry[Model]:
    """Bring the file to `models/<id>/` and list it; see `ModelCatalog.import_gguf`."""
    if not path.is_file():
        raise NotFoundError(f"there is no file {clean(str(path))}")
    if not safe_path(path.name) or path.suffix.lower() != ".gguf":
        raise UsageError(f"{clean(path.name)!r} is not the name of a GGUF file")
    header = gguf.read(path)
    wanted = model_id or default_model_id("", path.name)
    if catalog.contains(wanted):
        raise RefusedError(f"there is a model {clean(wanted)!r} already", hint="choose another id with --id")
    arriving = catalog.root.part_directory() / f"import-{secrets.token_hex(8)}.part"
    try:
        sha256 = _hash(path) if link and _linked(path, arriving) else _copied(path, arriving)
        length = arriving.stat().st_size
        directory = make_directory(catalog.directory(wanted), SHARED_MODE)
        with storage("publish", directory / path.name):
            arriving.replace(directory / path.name)
            sync_directory(directory)
    finally:
        arriving.unlink(missing_ok=True)
    quantization = header.quantization or quantization_of(path.name)
    return catalog.add_model(
        Model(
            id=wanted,
            name=header.name or path.stem,
            version=quantization or "1.0",
            size_bytes=length,
            source_url=path.resolve().as_uri(),
            files=[ModelFile(path=path.name, size_bytes=length, sha256=sha256, verified_at=now())],
            format="gguf",
            architecture=header.architecture,
            quantization=quantization,
            context_length=header.context_length,
            verified_at=now(),
            license=header.license,
        )
    )


def _linked(path: Path, target: Path) -> bool:
    with storage("link", path):
        try:
            os.link(path.resolve(), target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise RefusedError(
                    f"{clean(str(path))} is on another file system: it cannot be linked",
                    hint="import it without --link",
                ) from error
            raise
    return True


def _copied(path: Path, target: Path) -> str:
    """Copy a file durably; its sha256."""
    needed, free = path.stat().st_size, shutil.disk_usage(target.parent).free
    if needed > free:
        raise NoSpaceError(f"a copy needs {size(needed)}, and the disk has {size(free)} free")
    digest = hashlib.sha256()
    with storage("copy", path), path.open("rb") as source, target.open("xb") as copy:
        while block := source.read(_READ):
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fchmod(copy.fileno(), _FILE_MODE)
        sync_file(copy.fileno())
    return digest.hexdigest()


def _hash(path: Path) -> str:
    with storage("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
