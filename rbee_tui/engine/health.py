"""What the disk says of an artifact: derived at each reading, never stored; no link is followed."""

import os
import stat
import time
from typing import Any, NamedTuple

from rbee_tui.engine.artifacts import AVAILABLE, DOWNLOADING, Health, Model, Worker
from rbee_tui.engine.metadata import NAME
from rbee_tui.engine.plain import as_dict
from rbee_tui.engine.text import clean, size

ARRIVING_SECONDS = 10.0
_WEIGHTS = (".gguf", ".safetensors", ".bin", ".pth")
_NAMED = 3
_SHOWN = 60

Verdict = tuple[Health, str]


class _File(NamedTuple):
    """A file that a model needs; sizes in bytes, None for an expected size that nobody wrote down."""

    path: str
    expected: int | None
    found: int | None
    """None when it is not there, or is no regular file."""
    note: str = ""

    @property
    def right(self) -> bool:
        return self.found is not None and not self.note and self.expected in (None, self.found)


def of(artifact: Model | Worker, directory: str) -> Verdict:
    """The health of an artifact whose directory this is, and in a sentence why it is not simply ok."""
    return of_model(artifact, directory) if isinstance(artifact, Model) else of_worker(artifact, directory)


def of_model(model: Model, directory: str) -> Verdict:
    """A model is ok when each of its files is there with its size, and none failed its hash since."""
    if len(model.files) == 1:
        file = model.files[0]
        simple = file.damaged_at is None and file.outside is None and "/" not in file.path
        if simple and model.status == AVAILABLE:
            # Nearly every model of a long listing: one call to the system, and no more.
            try:
                found = os.lstat(f"{directory}/{file.path}")
            except OSError:
                found = None
            if found is not None and found.st_size == file.size_bytes and stat.S_ISREG(found.st_mode):
                return Health.OK, ""
    files = _look(model, directory)
    if files and all(file.right for file in files) and _enough(model, files):
        return Health.OK, _of_status(model.status)
    health, reason = _incomplete(model, files)
    if model.status != DOWNLOADING and _is_growing(health, files) and changed_just_now(directory):
        return Health.ARRIVING, f"{reason}; it changed just now"
    said = _of_status(model.status)
    return health, f"{reason}; {said}" if said and health is not Health.PARTIAL else reason


def of_worker(worker: Worker, directory: str) -> Verdict:
    """A worker is ok when its binary is there and may be executed; the user's own binary may be a link."""
    named = clean(worker.binary_path)
    if worker.binary_path.startswith("/"):
        path = worker.binary_path
    else:
        path = f"{directory}/{worker.binary_path}"
        if _through_link(directory, worker.binary_path):
            return Health.MISSING, f"its binary {named} is a link, and rbee follows none inside a worker"
    try:
        found = os.stat(path)  # noqa: PTH116 - a path that came from outside stays a string
    except (OSError, ValueError):
        return Health.MISSING, f"its binary {named} is not there"
    if not stat.S_ISREG(found.st_mode):
        return Health.MISSING, f"its binary {named} is not a file"
    if not os.access(path, os.X_OK):
        return Health.DAMAGED, f"its binary {named} may not be executed"
    return Health.OK, _of_status(worker.status)


def of_nothing(directory: str) -> Verdict:
    """The health of a directory without metadata.json: still arriving, or broken."""
    if changed_just_now(directory):
        return Health.ARRIVING, f"its {NAME} has not arrived yet"
    weights = weights_in(directory)
    if weights:
        return Health.BROKEN, f"it has {clean(weights[0])}, but no {NAME}"
    return Health.BROKEN, f"it has no {NAME}"


def files_of(model: Model, directory: str) -> list[tuple[str, int | None]]:
    """A model's files with their sizes; the specification's own format names none: what lies there then."""
    if model.files:
        return [(file.path, file.size_bytes) for file in model.files]
    names = weights_in(directory)
    if len(names) == 1 and model.size_bytes:
        return [(names[0], model.size_bytes)]
    return [(name, None) for name in names]


def weights_in(directory: str) -> list[str]:
    """The files of a directory that look like a model's weights, GGUF before all others."""
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))  # noqa: PTH208 - as above
    except OSError:
        return []
    found = [name for name in names if name.lower().endswith(_WEIGHTS) and _is_text(name)]
    return [name for name in found if name.lower().endswith(".gguf")] or found


def changed_just_now(directory: str) -> bool:
    """Whether any file but metadata.json changed within the last ten seconds, a hidden one included."""
    try:
        with os.scandir(directory) as found:
            times = [item.stat(follow_symlinks=False).st_mtime for item in found if item.name != NAME]
            times = times or ([os.lstat(directory).st_mtime] if not _has_metadata(directory) else [])
    except OSError:
        return False
    now = time.time()
    return any(abs(now - each) < ARRIVING_SECONDS for each in times)


def _has_metadata(directory: str) -> bool:
    return os.path.lexists(f"{directory}/{NAME}")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _look(model: Model, directory: str) -> list[_File]:
    damaged = {file.path: file.damaged_at for file in model.files if file.damaged_at is not None}
    outside = {file.path: file.outside for file in model.files if file.outside is not None}
    return [
        _look_outside(outside[path], size, damaged.get(path))
        if path in outside
        else _look_at(directory, path, size, damaged.get(path))
        for path, size in files_of(model, directory)
    ]


def _look_outside(path: str, expected: int | None, damaged_at: str | None) -> _File:
    """A file that was taken up in place: its own program may have it as a link."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path that came from outside stays a string
    except (OSError, ValueError):
        return _File(path, expected, None, f"{clean(path)} is not there any more")
    return _judged(path, expected, found, damaged_at)


def _look_at(directory: str, path: str, expected: int | None, damaged_at: str | None) -> _File:
    if _through_link(directory, path):
        return _File(path, expected, None, f"{clean(path)} is a link, and rbee follows none")
    try:
        found = os.lstat(f"{directory}/{path}")
    except (OSError, ValueError):
        return _File(path, expected, None)
    return _judged(path, expected, found, damaged_at)


def _judged(path: str, expected: int | None, found: os.stat_result, damaged_at: str | None) -> _File:
    if not stat.S_ISREG(found.st_mode):
        return _File(path, expected, None, f"{clean(path)} is not a file")
    if damaged_at is not None and found.st_mtime <= _seconds(damaged_at):
        return _File(path, expected, found.st_size, f"{clean(path)} does not match its hash")
    return _File(path, expected, found.st_size)


def _seconds(stamp: str) -> float:
    """A time of ours in seconds since the epoch; what cannot be read lies in the future."""
    from datetime import datetime  # noqa: PLC0415 - only damaged models need it

    try:
        # The stamp has whole seconds: a file of the same second was there before.
        return datetime.fromisoformat(stamp).timestamp() + 1
    except ValueError:
        return float("inf")


def _through_link(directory: str, path: str) -> bool:
    """Whether a component of a relative path is a link."""
    at = directory
    for part in path.split("/"):
        at = f"{at}/{part}"
        try:
            if stat.S_ISLNK(os.lstat(at).st_mode):
                return True
        except (OSError, ValueError):
            return False
    return False


def _enough(model: Model, files: list[_File]) -> bool:
    """Files that nobody listed must have the whole size together; more may be a projector beside them."""
    return bool(model.files) or sum(file.found or 0 for file in files) >= model.size_bytes


def _incomplete(model: Model, files: list[_File]) -> Verdict:
    there = [file for file in files if file.found is not None]
    wrong = [file for file in there if not file.right]
    links = [file.note for file in files if file.found is None and file.note]
    if wrong:
        return Health.DAMAGED, _listed([file.note or _short(file) for file in wrong])
    if model.status == DOWNLOADING:
        return Health.PARTIAL, "its download is not finished"
    if not there:
        absent = "its file is not there" if len(files) <= 1 else f"its {len(files)} files are not there"
        return Health.MISSING, _listed(links) or absent
    lacking = [clean(file.path) for file in files if file.found is None]
    if not lacking:
        have = sum(file.found or 0 for file in there)
        return Health.PARTIAL, f"its files have {size(have)} of {size(model.size_bytes)}"
    verb = "is" if len(lacking) == 1 else "are"
    return Health.PARTIAL, f"{len(lacking)} of its {len(files)} files {verb} not there: {_listed(lacking)}"


def _short(file: _File) -> str:
    found, expected = file.found or 0, file.expected or 0
    if size(found) == size(expected):
        return f"{clean(file.path)} has {found:,} bytes instead of {expected:,}"
    return f"{clean(file.path)} has {size(found)} instead of {size(expected)}"


def _listed(texts: list[str]) -> str:
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_growing(health: Health, files: list[_File]) -> bool:
    """Whether a copy that goes on would explain it: something is short or absent, nothing is too long."""
    if health is Health.DAMAGED:
        return not any(f.note or (f.expected is not None and (f.found or 0) > f.expected) for f in files)
    return health in (Health.PARTIAL, Health.MISSING)


def _of_status(status: Any) -> str:
    """What there is to say of a stored status; nothing of a simple `Available`."""
    if status == AVAILABLE:
        return ""
    if status == DOWNLOADING:
        return "its download is not finished"
    if "Failed" in as_dict(status):
        failure = as_dict(status)["Failed"]
        return f"its last download failed: {clean(str(as_dict(failure).get('error', failure)))}"
    return f"its status is not one that rbee knows: {clean(str(status))[:_SHOWN]}"


def is_being_written(directory: str) -> bool:
    """Whether metadata.json is still empty and was made just now: a copy opens a file before it fills it."""
    try:
        found = os.lstat(f"{directory}/{NAME}")
    except OSError:
        return False
    return (
        found.st_size == 0
        and stat.S_ISREG(found.st_mode)
        and abs(time.time() - found.st_mtime) < ARRIVING_SECONDS
    )
