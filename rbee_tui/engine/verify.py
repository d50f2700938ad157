"""Reading a model's files again and comparing them with their hashes."""

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from rbee_tui.engine.artifacts import AVAILABLE, Entry, Model, ModelFile
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.health import files_of
from rbee_tui.engine.paths import beneath
from rbee_tui.engine.transfer.hashing import file_matches
from rbee_tui.engine.transfer.source import Progress, Source


class FileCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one file: `right`, `wrong`, `missing`, or `unknown` where no hash is known."""

    path: str
    size_bytes: int
    """The size that it must have; the size that it has where nobody wrote one down."""
    result: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a model; `ok` when it can be read and no file is wrong or missing."""

    id: str
    ok: bool
    verified_at: str | None
    """Now, when every file was compared with a hash and is right."""
    files: list[FileCheck]
    reason: str = ""
    """In a sentence what is wrong, or could not be compared."""


def yield_to_others() -> None:
    """Give this process the lowest priority for processor and disk, for a scrub beside other work."""
    os.nice(19)
    import psutil  # noqa: PLC0415 - only a scrub pays for it

    with suppress(psutil.Error, OSError, AttributeError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def verify(entry: Entry[Model], stop: threading.Event, progress: Progress, at: str) -> Verification:
    """Compare each file of an entry with its size and hash; raises transfer.Stopped and StorageError."""
    model = entry.artifact
    if model is None:
        return Verification(id=entry.id, ok=False, verified_at=None, files=[], reason=entry.reason)
    known = {file.path: file for file in model.files}
    names = files_of(model, entry.directory)
    progress.total = sum(size or 0 for _, size in names)
    checks: list[FileCheck] = []
    for name, size in names:
        file = known.get(name) or ModelFile(path=name, size_bytes=size or _size(entry.directory, name))
        checks.append(_check(Path(entry.directory), file, stop, progress))
    bad = [check for check in checks if check.result in ("wrong", "missing")]
    ok = bool(checks) and not bad
    proven = ok and all(check.result == "right" for check in checks)
    return Verification(
        id=entry.id,
        ok=ok,
        verified_at=at if proven else None,
        files=checks,
        reason=_reason(checks, bad),
    )


def outcome(model: Model, found: Verification, at: str) -> Model:
    """The model with what a verification found of the files that it still has."""
    results = {(check.path, check.size_bytes): check.result for check in found.files}
    files = tuple(_marked(file, results.get((file.path, file.size_bytes)), at) for file in model.files)
    # A download that failed over files that are all right is of no interest any more.
    status = AVAILABLE if found.verified_at and isinstance(model.status, dict) else model.status
    return msgspec.structs.replace(model, files=files, verified_at=found.verified_at, status=status)


def _marked(file: ModelFile, result: str | None, at: str) -> ModelFile:
    if result == "right":
        return msgspec.structs.replace(file, verified_at=at, damaged_at=None)
    if result == "wrong":
        return msgspec.structs.replace(file, verified_at=None, damaged_at=at)
    return file


def _reason(checks: list[FileCheck], bad: list[FileCheck]) -> str:
    if not checks:
        return "it has no file that could be verified"
    if bad:
        said = {"wrong": "does not match its hash", "missing": "is not there"}
        return ", ".join(f"{check.path} {said[check.result]}" for check in bad)
    unknown = [check.path for check in checks if check.result == "unknown"]
    return f"no hash is known of {', '.join(unknown)}: only the size was compared" if unknown else ""


def _size(directory: str, name: str) -> int:
    try:
        return os.lstat(f"{directory}/{name}").st_size
    except OSError:
        return 0


def _check(directory: Path, file: ModelFile, stop: threading.Event, progress: Progress) -> FileCheck:
    result = _result(directory, file, stop, progress)
    return FileCheck(path=file.path, size_bytes=file.size_bytes, result=result)


def _result(directory: Path, file: ModelFile, stop: threading.Event, progress: Progress) -> str:
    try:
        # In place it may be a link of the program's whose it is.
        path = Path(file.outside).resolve() if file.outside else beneath(directory, file.path)
        found = path.lstat()
    except (OSError, RefusedError):
        return "missing"
    if not stat.S_ISREG(found.st_mode):
        return "missing"
    if found.st_size != file.size_bytes:
        return "wrong"
    if not file.sha256 and not file.blob_id:
        return "unknown"
    source = Source("", "", "", file.path, file.size_bytes, file.sha256, file.blob_id)
    before = progress.received
    right = file_matches(path, source, stop, progress)
    # `hashed` starts again with each file; `received` counts over all of them.
    progress.received = before + file.size_bytes
    return "right" if right else "wrong"
