"""What takes room on the disk, what removing it gives back, and whether the disk is about to be full."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from rbee_tui.engine import removal, switching
from rbee_tui.engine.describe import outside
from rbee_tui.engine.headroom import warning

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine

Kind = Literal["model", "worker", "partial", "update", "logs"]


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that takes room; sizes in bytes."""

    id: str
    """Of a model or a worker; the name of a partial file; the model that an update is for."""
    kind: Kind
    size_bytes: int
    """What its files have; those that lie in place elsewhere are not counted."""
    freed_bytes: int
    """What removing it alone gives back: less where other names hold its bytes."""
    shared_bytes: int = 0
    """What other names hold of it, which stays."""
    elsewhere_bytes: int = 0
    """Of files that were taken up in place: another program's."""
    wanted_by: str | None = None
    """The unfinished download that a partial file belongs to."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The disk on which the root lies, and what of it is taken here; sizes in bytes."""

    path: str
    total_bytes: int
    free_bytes: int
    promised_bytes: int
    """Of what is free, what unfinished downloads will still take."""
    held_bytes: int
    """What the root takes, each file counted once however many names it has."""
    purgeable_bytes: int
    """Of partial files that no download wants."""
    shares: list[Share]
    """The one that gives back most comes first."""
    warning: str = ""
    """In a sentence that the disk is about to be full; empty where it is not."""


def usage(engine: "Engine") -> Usage:
    """Look at the disk and at everything of ours on it; blocking, writes nothing."""
    found = os.statvfs(engine.root.part_directory())
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    promised = engine.provisioner.promised()
    partials = engine.provisioner.partials()
    walk = _Walk()
    shares = [
        *(_model(walk, entry.id, Path(entry.directory), outside(entry)) for entry in engine.models.list()),
        *(walk.share(entry.id, "worker", Path(entry.directory)) for entry in engine.workers.list()),
        *(
            Share(
                id=each.name,
                kind="partial",
                size_bytes=each.held_bytes,
                freed_bytes=each.held_bytes,
                wanted_by=each.job_id,
            )
            for each in partials
        ),
        *(walk.share(path.name, "update", path) for path in _updates(engine.root.models / switching.STAGING)),
        walk.share("logs", "logs", engine.root.logs),
    ]
    walk.rest(engine.root.path, engine.root.models)
    return Usage(
        path=str(engine.root.path),
        total_bytes=total,
        free_bytes=free,
        promised_bytes=promised,
        held_bytes=sum(walk.held.values()),
        purgeable_bytes=sum(each.held_bytes for each in partials if each.purgeable),
        shares=sorted(shares, key=lambda each: (-each.freed_bytes, -each.size_bytes, each.id)),
        warning=warning(free, total, promised),
    )


class _Walk:
    """Looks at every file once, however many figures it is for."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}
        """Bytes on the disk of each file that was seen, by device and inode."""
        self._seen: set[str] = set()

    def share(self, name: str, kind: Kind, directory: Path) -> Share:
        """What a directory takes, and what removing it gives back."""
        self._seen.add(os.path.realpath(directory))
        try:
            tree = removal.weigh(directory)
        except OSError:  # removed just now
            return Share(id=name, kind=kind, size_bytes=0, freed_bytes=0)
        self.held |= tree.held
        size = sum(tree.held.values()) if tree.files else 0
        return Share(id=name, kind=kind, size_bytes=size, freed_bytes=tree.freed, shared_bytes=tree.shared)

    def rest(self, *directories: Path) -> None:
        """Look at what lies beneath directories and belongs to no share."""
        for directory in map(os.path.realpath, directories):
            if directory not in self._seen:
                self._beneath(directory)

    def _beneath(self, directory: str) -> None:
        for at, inner, names, handle in os.fwalk(directory, follow_symlinks=False):
            self._seen.add(at)
            inner[:] = [name for name in inner if os.path.join(at, name) not in self._seen]  # noqa: PTH118 - as fwalk has it
            for name in names:
                try:
                    status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    self.held[status.st_dev, status.st_ino] = status.st_blocks * 512


def _model(walk: _Walk, model_id: str, directory: Path, away: list[str]) -> Share:
    share = walk.share(model_id, "model", directory)
    return msgspec.structs.replace(share, elsewhere_bytes=sum(_size(path) for path in away))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a path that came from outside stays a string
    except OSError:
        return 0


def _updates(staging: Path) -> list[Path]:
    try:
        return sorted(path for path in staging.iterdir() if path.is_dir())
    except OSError:
        return []
