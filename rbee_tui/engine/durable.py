"""The one way to write a file so that it survives a power cut, and the one way to lock."""

import errno
import fcntl
import glob
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rbee_tui.engine.errors import BusyError, NoSpaceError, RefusedError, StorageError
from rbee_tui.engine.paths import sync_directory
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import clean

_POLL_SECONDS = 0.02
_STALE_SECONDS = 3600.0
"""No write takes that long."""


@contextmanager
def storage(action: str, path: Path) -> Generator[None]:
    """Turn an OSError into a sentence: `cannot <action> <path>: <reason>`; ENOSPC becomes NoSpaceError."""
    try:
        yield
    except OSError as error:
        said = f"cannot {action} {clean(str(path))}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                said, hint="make room on that disk (df says how full it is), then again"
            ) from error
        raise StorageError(said) from error


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data`, wholly or not at all; on return it survives a power cut. Mode is exact.

    What a killed writer of the same file left beside it long ago goes away with it.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}.tmp")
    with storage("write", path):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            try:
                os.fchmod(handle, mode)
                write_all(handle, data)
                sync_file(handle)
            finally:
                os.close(handle)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    with suppress(StorageError):
        sweep(path, older=_STALE_SECONDS)


def sweep(path: Path, *, older: float | None = None) -> None:
    """Remove what killed writers of `path` left beside it, if it is `older` than so many seconds.

    Without, the caller has to be the only one who writes it.
    """
    with storage("clean up beside", path):
        for left in path.parent.glob(f".{glob.escape(path.name[:100])}.*.tmp"):
            if older is None or left.lstat().st_mtime < time.time() - older:
                left.unlink(missing_ok=True)


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write every byte to the handle's position: a short write is followed by the error that caused it."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def sync_file(handle: int) -> None:
    """Bring a file's data to the disk; macOS's fsync stops at the drive's cache, so F_FULLFSYNC there."""
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(handle, full)
    else:
        os.fsync(handle)


def append_line(path: Path, line: bytes, mode: int = 0o600) -> None:
    """Append one line in one write, so that lines of several processes never mix; at most 4 KiB."""
    with storage("append to", path):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            os.write(handle, line + b"\n")
        finally:
            os.close(handle)


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, as its file says: a hint for a sentence, never a proof."""

    pid: int
    verb: str


class Lock:
    """An flock on a file of its own, never removed, released by the kernel when its process ends."""

    def __init__(self, path: Path, verb: str, *, shared: bool = False) -> None:
        self.path = path
        self.verb = verb
        self.shared = shared
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock now."""
        return self._handle is not None

    def try_acquire(self) -> bool:
        """Take the lock without waiting; False when somebody else has it.

        Raises RefusedError where the file system does not enforce flock: two writers would destroy each
        other's work there.
        """
        with storage("open the lock", self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        taken = False
        try:
            taken = _flock(handle, shared=self.shared)
            if taken:
                if not self.shared:
                    self._enforce()
                    self._sign(handle)
                self._handle = handle
            return taken
        finally:
            if self._handle != handle:
                os.close(handle)

    def probe(self) -> bool:
        """Whether nobody holds the lock in this object's mode.

        It takes the other mode for a moment: two who look at an exclusive lock do not see each other.
        """
        with storage("open the lock", self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return _flock(handle, shared=not self.shared)
        finally:
            os.close(handle)

    def acquire(self, wait: float = 0.0) -> Self:
        """Take the lock, waiting up to `wait` seconds; raises BusyError that names the holder."""
        until = time.monotonic() + wait
        while not self.try_acquire():
            if time.monotonic() >= until:
                raise BusyError(self.busy_text(), hint="try again when it is done")
            time.sleep(_POLL_SECONDS)
        return self

    def busy_text(self) -> str:
        """A sentence that says who holds the lock."""
        holder = self.holder()
        who = f"pid {holder.pid} ({clean(holder.verb)})" if holder else "another rbee"
        return f"{who} is at work on {clean(self.path.stem)}"

    def holder(self) -> Holder | None:
        """Who signed the lock last; None when the file says nothing readable."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Holder)
        except (OSError, *UNDECODABLE):
            return None

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self if self.held else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _sign(self, handle: int) -> None:
        with storage("sign the lock", self.path):
            text = msgspec.json.encode(Holder(os.getpid(), self.verb))
            os.ftruncate(handle, 0)
            os.pwrite(handle, text, 0)

    def _enforce(self) -> None:
        """Ask the kernel for the same lock a second time: where it is granted, locks mean nothing."""
        other = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if _flock(other, shared=False):
                raise RefusedError(
                    f"the file system of {clean(str(self.path.parent))} does not enforce locks: "
                    "two writers could destroy each other's work",
                    hint="set RBEE_HOME to a local disk",
                )
        finally:
            os.close(other)


def _flock(handle: int, *, shared: bool) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
