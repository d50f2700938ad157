"""A worker's directory: made beside its place, then put there in one step."""

import ctypes
import os
import shutil
import sys
from pathlib import Path

from rbee_tui.engine import durable, metadata
from rbee_tui.engine.artifacts import Worker
from rbee_tui.engine.catalog import METADATA
from rbee_tui.engine.durable import storage
from rbee_tui.engine.ids import directory
from rbee_tui.engine.paths import SHARED_MODE, Root, make_directory, sync_directory
from rbee_tui.engine.text import now

LAUNCHER = Path(__file__).with_name("launcher.py")
_EXCHANGES = {"linux": (-100, "renameat2"), "darwin": (-2, "renameatx_np")}
"""AT_FDCWD, and the function that can let two names change places."""
_EXCHANGE = 2


class Staging:
    """The place where a worker is made; who holds the worker's lock finds only leftovers there."""

    def __init__(self, root: Root, worker_id: str) -> None:
        name = directory(worker_id)[:200]
        self.target = root.workers / directory(worker_id)
        self.path = root.workers / f".staging-{name}"
        self._old = root.workers / f".old-{name}"

    def begin(self) -> None:
        """Clear away what a killed install left, put back what it had moved, and make the directory."""
        with storage("prepare", self.path):
            if self._old.is_dir() and not self.target.exists():
                self._old.rename(self.target)
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
        """Write the metadata and put the whole tree in place, durably; one that is there is exchanged."""
        stamp = now()
        with storage("install", self.target):
            _set_right(self.path)
            durable.write(self.path / METADATA, metadata.encode(worker, {}, stamp, stamp))
            if not self.target.exists():
                self.path.rename(self.target)
            elif not exchange(self.path, self.target):
                self._exchange_in_two_steps()
            sync_directory(self.target.parent)

    def _exchange_in_two_steps(self) -> None:
        self.target.rename(self._old)
        try:
            self.path.rename(self.target)
        except OSError:
            # Leftovers are cleared away next: the worker that was there must not be one.
            self._old.rename(self.target)
            raise

    def clear(self) -> None:
        """Remove what is not in place."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self._old, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Let two directories change places in one step; False where the system cannot."""
    here, name = _EXCHANGES.get(sys.platform, (0, ""))
    function = getattr(ctypes.CDLL(None), name, None)
    if function is None:
        return False
    return function(here, os.fsencode(one), here, os.fsencode(other), _EXCHANGE) == 0


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
