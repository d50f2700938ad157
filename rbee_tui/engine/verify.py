"""Reading a model's files again and comparing them with their hashes."""

import threading
from pathlib import Path

import msgspec

from rbee_tui.engine.artifacts import ModelFile
from rbee_tui.engine.transfer import Progress, Source
from rbee_tui.engine.transfer.hashing import file_matches


class FileCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one file: `right`, `wrong`, `missing`, or `unknown` where no hash is known."""

    path: str
    size_bytes: int
    result: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a model; `ok` when no file is wrong or missing."""

    id: str
    ok: bool
    verified_at: str | None
    files: list[FileCheck]


def check(directory: Path, file: ModelFile, stop: threading.Event, progress: Progress) -> FileCheck:
    """Read one file and compare it; raises Stopped and StorageError."""
    path = directory / file.path
    return FileCheck(path=file.path, size_bytes=file.size_bytes, result=_result(path, file, stop, progress))


def _result(path: Path, file: ModelFile, stop: threading.Event, progress: Progress) -> str:
    if not path.is_file():
        return "missing"
    if path.stat().st_size != file.size_bytes:
        return "wrong"
    if not file.sha256 and not file.blob_id:
        return "unknown"
    source = Source("", "", "", file.path, file.size_bytes, file.sha256, file.blob_id)
    return "right" if file_matches(path, source, stop, progress) else "wrong"
