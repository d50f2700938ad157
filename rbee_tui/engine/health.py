"""Health is derived from the disk at each reading, never stored."""

import os
import time

from rbee_tui.engine.artifacts import AVAILABLE, DOWNLOADING, Health, Model, Worker
from rbee_tui.engine.plain import as_dict
from rbee_tui.engine.text import clean, size

ARRIVING_SECONDS = 10.0

Verdict = tuple[Health, str]


def of(artifact: Model | Worker, path: str) -> Verdict:
    """The health of an artifact in the directory `path`, and the reason when it is not ok."""
    return of_model(artifact, path) if isinstance(artifact, Model) else of_worker(artifact, path)


def of_worker(worker: Worker, path: str) -> Verdict:
    """A worker is ok when its binary is there."""
    binary = os.path.join(path, worker.binary_path)  # noqa: PTH118 - a listing's inner loop
    if not os.path.isfile(binary):  # noqa: PTH113 - as above
        return Health.MISSING, f"its binary {clean(worker.binary_path)} is not there"
    return _of_status(worker.status)


def of_model(model: Model, path: str) -> Verdict:
    """A model is ok when each of its files is there with its size."""
    files = files_of(model, path)
    absent: list[str] = []
    wrong: list[str] = []
    for name, expected in files:
        try:
            found = os.stat(f"{path}/{name}").st_size  # noqa: PTH116 - a listing's inner loop
        except OSError:
            absent.append(name)
            continue
        if expected is not None and found != expected:
            wrong.append(f"{clean(name)} has {size(found)} of {size(expected)}")
    if not absent and not wrong and files:
        return _of_status(model.status)
    verdict = _incomplete(model, files, absent, wrong)
    if verdict[0] is not Health.MISSING and model.status != DOWNLOADING and changed_just_now(path):
        return Health.ARRIVING, f"{verdict[1]}; it changed just now"
    return verdict


def _incomplete(
    model: Model, files: list[tuple[str, int | None]], absent: list[str], wrong: list[str]
) -> Verdict:
    if model.status == DOWNLOADING:
        return Health.PARTIAL, "its download is not finished"
    if wrong:
        return Health.DAMAGED, "; ".join(wrong[:3])
    if len(absent) < len(files):
        return Health.PARTIAL, f"{len(absent)} of its {len(files)} files are not there"
    return Health.MISSING, "its file is not there" if len(files) <= 1 else "its files are not there"


def _of_status(status: object) -> Verdict:
    if status == AVAILABLE:
        return Health.OK, ""
    if status == DOWNLOADING:
        return Health.PARTIAL, "its download is not finished"
    if "Failed" in as_dict(status):
        failure = as_dict(status)["Failed"]
        error = as_dict(failure).get("error", failure)
        return Health.PARTIAL, f"its download failed: {clean(str(error))}"
    return Health.OK, f"its status is unknown: {clean(str(status))[:60]}"


def files_of(model: Model, path: str) -> list[tuple[str, int | None]]:
    """A model's files with their sizes; the specification's own format names none: its GGUF files then."""
    if model.files:
        return [(file.path, file.size_bytes) for file in model.files]
    try:
        names = sorted(name for name in os.listdir(path) if name.lower().endswith(".gguf"))  # noqa: PTH208
    except OSError:
        names = []
    return [(names[0], model.size_bytes)] if len(names) == 1 else [(name, None) for name in names]


def changed_just_now(path: str) -> bool:
    """Whether something in the directory changed within the last ten seconds."""
    try:
        with os.scandir(path) as found:
            newest = max((item.stat(follow_symlinks=False).st_mtime for item in found), default=0.0)
        return time.time() - max(newest, os.stat(path).st_mtime) < ARRIVING_SECONDS  # noqa: PTH116
    except OSError:
        return False
