"""A worker's directory: a version is made beside it, then put into it and taken into use in one step."""

import os
import shutil
from pathlib import Path

import msgspec

from rbee_tui.engine import durable, metadata
from rbee_tui.engine.artifacts import Worker
from rbee_tui.engine.catalog import METADATA, WorkerCatalog
from rbee_tui.engine.durable import storage
from rbee_tui.engine.ids import directory
from rbee_tui.engine.paths import SHARED_MODE, Root, make_directory, sync_directory
from rbee_tui.engine.text import now
from rbee_tui.engine.workers import versions

LAUNCHER = Path(__file__).with_name("launcher.py")
_METADATA_MODE = 0o644


class Staging:
    """The place where a version is made; who holds the worker's lock finds only leftovers there."""

    def __init__(self, root: Root, worker_id: str) -> None:
        name = directory(worker_id)[:200]
        self.target = root.workers / directory(worker_id)
        self.path = root.workers / f".staging-{name}"
        self._whole = root.workers / f".new-{name}"

    def begin(self) -> None:
        """Clear away what a killed install left, and make the directory."""
        self.clear()
        make_directory(self.path, SHARED_MODE)

    def furnish(self, name: str) -> Path:
        """Add the launcher under a name; its path."""
        launcher = self.path / name
        with storage("write", launcher):
            shutil.copyfile(LAUNCHER, launcher)
            launcher.chmod(SHARED_MODE)
        return launcher

    def publish(self, worker: Worker) -> None:
        """Put the version in its place and take it into use, durably; others that are there stay.

        Its files come before the metadata that names them: until that is replaced, nothing has changed.
        """
        with storage("install", self.target):
            if self.target.is_symlink() or self.target.is_file():
                self.target.unlink()  # what is there is no worker, and rbee follows no link
            name = versions.free_name(self.target, worker.version)
            placed = msgspec.structs.replace(worker, binary_path=f"{name}/{worker.binary_path}")
            stamp = now()
            raw = metadata.encode(placed, {}, stamp, stamp)
            _set_right(self.path)
            durable.write(self.path / METADATA, raw, _METADATA_MODE)
            if self.target.exists():
                self.path.rename(self.target / name)
                sync_directory(self.target)
                durable.write(self.target / METADATA, raw, _METADATA_MODE)
            else:
                make_directory(self._whole, SHARED_MODE)
                self.path.rename(self._whole / name)
                durable.write(self._whole / METADATA, raw, _METADATA_MODE)
                self._whole.rename(self.target)
            sync_directory(self.target.parent)

    def clear(self) -> None:
        """Remove what is not in place."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self._whole, ignore_errors=True)


def sweep(workers: WorkerCatalog, worker_id: str) -> None:
    """Remove the versions that are not kept any more; the caller holds the worker's lock."""
    entry = workers.get(worker_id)
    for name in versions.superfluous(entry):
        path = Path(entry.directory, name)
        with storage("remove", path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def refresh_launcher(root: Root, launcher: Path) -> None:
    """Bring an installed launcher to this rbee's own: an older one does not know what it is told now.

    One that lies elsewhere is left as it is; raises StorageError.
    """
    data = LAUNCHER.read_bytes()
    if not launcher.resolve().is_relative_to(root.workers.resolve()):
        return
    with storage("read", launcher):
        is_ours = launcher.read_bytes() == data
    if not is_ours:
        durable.write(launcher, data, mode=SHARED_MODE)


def _set_right(tree: Path) -> None:
    """Modes that do not depend on the umask, and every file and name on the disk."""
    for at, _, names in os.walk(tree, topdown=False):
        for name in names:
            path = Path(at, name)
            if path.is_symlink():
                continue
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                durable.sync_file(handle)
            finally:
                os.close(handle)
        Path(at).chmod(SHARED_MODE)
        sync_directory(Path(at))
