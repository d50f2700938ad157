"""What a repair of a model will do: which of its files are wrong, and how much of each is fetched again."""

import threading
from pathlib import Path

import msgspec

from rbee_tui.engine.artifacts import Entry, Model, ModelFile
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobs import PlannedFile
from rbee_tui.engine.paths import beneath
from rbee_tui.engine.text import clean
from rbee_tui.engine.transfer import blocks_path
from rbee_tui.engine.transfer.hashing import file_matches
from rbee_tui.engine.transfer.journal import load
from rbee_tui.engine.transfer.mend import Damage, inspect
from rbee_tui.engine.transfer.source import Progress, Source


class FileRepair(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one file; sizes in bytes."""

    path: str
    bad_blocks: int
    blocks: int
    fetch_bytes: int
    note: str = ""
    """Why all of it must be fetched, where it must."""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """A repair that has begun: `job_id` fetches what is bad; None when nothing is."""

    id: str
    job_id: str | None
    files: list[FileRepair]


class Broken(msgspec.Struct, frozen=True):
    """One wrong file: its place in the plan, and which blocks are good."""

    index: int
    target: Path
    damage: Damage


def require_origin(entry: Entry[Model]) -> Model:
    """The model, if it is known where its files come from; raises RefusedError."""
    model = entry.artifact
    if model is None or not model.repo or not model.revision or not model.files:
        raise RefusedError(
            f"nobody knows where the files of {clean(entry.id)} come from: they cannot be fetched again",
            hint="import or pull the model anew",
        )
    return model


def planned(entry: Entry[Model], model: Model, hub: Hub) -> list[PlannedFile]:
    """Where the Hub has each file: as its block digests say, else by its hash in the listing."""
    directory = Path(entry.directory)
    paths = [_path_from_blocks(directory, file) for file in model.files]
    if None in paths:
        listed = hub.repository(model.repo or "", model.revision or "").files
        by_hash = {each.sha256 or each.blob_id: each.path for each in listed}
        paths = [
            path or by_hash.get(file.sha256 or file.blob_id)
            for path, file in zip(paths, model.files, strict=True)
        ]
    return [
        PlannedFile(
            path=path or file.path,
            target=file.path,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            blob_id=file.blob_id,
        )
        for path, file in zip(paths, model.files, strict=True)
    ]


def _path_from_blocks(directory: Path, file: ModelFile) -> str | None:
    header = load(blocks_path(beneath(directory, file.path))).header
    return header.path if header and header.path and header.size == file.size_bytes else None


def examine(
    directory: Path, sources: list[Source], targets: list[str], stop: threading.Event, progress: Progress
) -> list[Broken]:
    """The files that are missing or wrong, and their good blocks; raises Stopped and StorageError."""
    broken: list[Broken] = []
    progress.total = sum(source.size_bytes for source in sources)
    for index, (source, name) in enumerate(zip(sources, targets, strict=True)):
        target = beneath(directory, name)
        before = progress.received
        if not _is_right(target, source, stop, progress):
            broken.append(Broken(index, target, inspect(target, source, stop, progress)))
        progress.received = before + source.size_bytes
    return broken


def _is_right(target: Path, source: Source, stop: threading.Event, progress: Progress) -> bool:
    try:
        found = target.lstat().st_size
    except OSError:
        return False
    return found == source.size_bytes and file_matches(target, source, stop, progress)
