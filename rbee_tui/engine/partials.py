"""Files that have partly arrived: what each is, what room it takes, and whether it may go."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rbee_tui.engine import transfer
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.jobs import Record
from rbee_tui.engine.paths import Root
from rbee_tui.engine.transfer.journal import Loaded, load


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """One partial file; sizes in bytes."""

    name: str
    """Of the file in the directory for arriving files."""
    repo: str
    """Empty, like `path`, where it has no journal that can be read."""
    path: str
    size_bytes: int
    """What it will have."""
    kept_bytes: int
    """What a download of it would go on from."""
    held_bytes: int
    """The room that it takes on the disk; reserved room counts."""
    job_id: str | None
    """The unfinished download that wants it."""
    purgeable: bool
    changed_at: str


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge took away."""

    names: list[str]
    freed_bytes: int


def partials(root: Root, wanted: dict[str, Record]) -> list[Partial]:
    """The partial files of a root by name; `wanted`: the unfinished jobs by the names of their parts."""
    found: list[Partial] = []
    directory = root.part_directory()
    with storage("list", directory):
        paths = sorted(directory.glob("*.part"))
    for path in paths:
        try:
            status = path.lstat()
        except OSError:
            continue  # published or purged just now
        said = load(transfer.journal_path(path))
        job = wanted.get(path.name)
        found.append(
            Partial(
                name=path.name,
                repo=said.header.repo if said.header else "",
                path=said.header.path if said.header else "",
                size_bytes=said.header.size if said.header else status.st_size,
                kept_bytes=kept_bytes(said),
                held_bytes=status.st_blocks * 512,
                job_id=job.id if job else None,
                purgeable=job is None and _free(root, path.name),
                changed_at=datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
        )
    return found


def purge(root: Root, chosen: list[Partial], verb: str) -> Purged:
    """Remove partial files and their journals, but for those that somebody took up meanwhile."""
    names: list[str] = []
    freed = 0
    for each in chosen:
        lock = part_lock(root, each.name, verb)
        if each.purgeable and lock.try_acquire():
            with lock:
                transfer.discard(root.part_directory() / each.name)
            names.append(each.name)
            freed += each.held_bytes
    return Purged(names=names, freed_bytes=freed)


def part_lock(root: Root, name: str, verb: str) -> Lock:
    """The lock under which a part is written."""
    return Lock(root.locks / f"part-{Path(name).name}.lock", verb)


def _free(root: Root, name: str) -> bool:
    return part_lock(root, name, "look").probe()


def kept_bytes(said: Loaded) -> int:
    """How much a journal says is there."""
    return sum(
        block.length for found in (said.trusted, said.unproven, said.pieces) for block in found.values()
    )
