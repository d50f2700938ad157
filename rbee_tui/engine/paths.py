"""The cache root: where things lie, with which modes, and what keeps every path beneath it."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rbee_tui.engine.errors import RefusedError, StorageError, UsageError
from rbee_tui.engine.text import clean

SHARED_MODE = 0o755
PRIVATE_MODE = 0o700


@dataclass(frozen=True)
class Root:
    """A cache root; the directory is the truth, and the protocol between the processes that use it."""

    path: Path

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> "Root":
        """The root that RBEE_HOME names, else `~/.cache/rbee`; raises UsageError for a relative RBEE_HOME."""
        named = environment.get("RBEE_HOME", "")
        if not named:
            return cls(Path.home() / ".cache" / "rbee")
        path = Path(named).expanduser()
        if not path.is_absolute():
            raise UsageError(
                f"RBEE_HOME is {clean(named)!r}, a relative path", hint="give it an absolute path"
            )
        return cls(path)

    @property
    def models(self) -> Path:
        """A directory per model."""
        return self.path / "models"

    @property
    def workers(self) -> Path:
        """A directory per installed worker."""
        return self.path / "workers"

    @property
    def tmp(self) -> Path:
        """Files that are still arriving, and their journals."""
        return self.path / "tmp"

    @property
    def state(self) -> Path:
        """Locks, facts, job and worker records, logs, keys: this machine's own, mode 700."""
        return self.path / "state"

    @property
    def jobs(self) -> Path:
        """Download job records."""
        return self.state / "jobs"

    @property
    def locks(self) -> Path:
        """Lock files; they are never removed."""
        return self.state / "locks"

    @property
    def running(self) -> Path:
        """Records, keys and exit notes of worker processes."""
        return self.state / "running"

    @property
    def logs(self) -> Path:
        """Log files of worker processes and installs."""
        return self.state / "logs"

    @property
    def facts(self) -> Path:
        """The file to which every change is told, a JSON line each."""
        return self.state / "facts.jsonl"

    def part_directory(self) -> Path:
        """Where arriving files lie: `tmp/`, or `models/.part/` when models/ is on another file system.

        Publishing has to stay a rename, which cannot cross file systems.
        """
        if self.models.stat().st_dev == self.tmp.stat().st_dev:
            return self.tmp
        return make_directory(self.models / ".part", SHARED_MODE)

    def prepare(self) -> "Root":
        """Make the directories that are missing, set ours right; raises RefusedError for an unsafe root."""
        if self.path.is_dir():
            # Before its mode is set right: what others may have put there would look like ours.
            refuse_unsafe(self.path)
        make_directory(self.path, SHARED_MODE)
        for path in (self.models, self.workers, self.tmp):
            make_directory(path, SHARED_MODE)
        for path in (self.state, self.jobs, self.locks, self.running, self.logs):
            make_directory(path, PRIVATE_MODE)
        return self


def make_directory(path: Path, mode: int) -> Path:
    """Make `path` and its parents, with exactly `mode` under any umask; one that is there is set right."""
    try:
        made = _make_parents(path)
        found = path.stat()
        if made or (found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != mode):
            path.chmod(mode)
    except OSError as error:
        raise StorageError(
            f"cannot make the directory {clean(str(path))}: {error.strerror}",
            hint="RBEE_HOME says where everything lies (default ~/.cache/rbee)",
        ) from error
    return path


def _make_parents(path: Path) -> bool:
    if path.is_dir():
        return False
    _make_parents(path.parent)
    try:
        path.mkdir(mode=SHARED_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise
        return False
    sync_directory(path.parent)
    return True


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_unsafe(path: Path) -> None:
    """Raise RefusedError where another user owns or may write the root: they could swap a model under us."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise RefusedError(
            f"{clean(str(path))} belongs to another user (uid {found.st_uid})",
            hint="set RBEE_HOME to a directory of your own",
        )
    if found.st_mode & stat.S_IWOTH:
        raise RefusedError(
            f"everybody may write to {clean(str(path))}",
            hint="set RBEE_HOME to a directory that only you may write to",
        )


def beneath(directory: Path, relative: str) -> Path:
    """`relative` beneath `directory`; raises RefusedError for `..`, absolute paths and links."""
    parts = Path(relative).parts
    if not parts or Path(relative).is_absolute() or ".." in parts or "\0" in relative:
        raise RefusedError(f"the path {clean(relative)!r} leads out of {clean(str(directory))}")
    at = directory
    for part in parts:
        at = at / part
        if at.is_symlink():
            raise RefusedError(f"{clean(str(at))} is a link: it could lead out of {clean(str(directory))}")
    return at
