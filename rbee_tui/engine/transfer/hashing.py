"""The hash of the whole file, which follows the bytes as they arrive, and the digests of its blocks."""

import hashlib
import hmac
import os
import threading
from pathlib import Path
from typing import Protocol

import xxhash

from rbee_tui.engine.errors import RbeeError, StorageError
from rbee_tui.engine.text import clean
from rbee_tui.engine.transfer import priority
from rbee_tui.engine.transfer.source import Progress, Source, Stopped

_DIGESTED = 1 << 18  # what is read at once for the digest of a block
# Each turn costs a hand-over between threads: it waits for a MiB, and one that is behind takes more.
_READ, _READ_MOST = 1 << 18, 1 << 20
_READS_MOST = threading.Lock()
"""Held by the one hash of the process that reads the most at once: for many files that would add up."""
_BEHIND = 8 << 20
_WORTH = 1 << 20
_POLL_SECONDS = 0.1


class Hash(Protocol):
    """What hashlib's objects have."""

    def update(self, data: memoryview, /) -> None:
        """Take in more bytes."""
        ...

    def hexdigest(self) -> str:
        """The hash of all bytes so far."""
        ...


def start(source: Source) -> Hash:
    """A hash object for a source: git's blob id where that is all that the Hub gives, else sha256."""
    if source.blob_id and not source.sha256:
        # git names content by sha1; it is compared with what the Hub gave, and nothing else is known.
        return hashlib.sha1(b"blob %d\0" % source.size_bytes, usedforsecurity=False)
    return hashlib.sha256()


def matches(found: str, source: Source) -> bool:
    """Whether a computed hash is the source's; true where the Hub gave none."""
    wanted = source.sha256 or source.blob_id
    return not wanted or hmac.compare_digest(found, wanted.lower())


def block_digest(handle: int, offset: int, length: int) -> str | None:
    """The digest of bytes of an open file; None when the file ends before."""
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(min(_DIGESTED, length)))
    end = offset + length
    while offset < end:
        count = read_into(handle, buffer[: end - offset], offset)
        if count == 0:
            return None
        digest.update(buffer[:count])
        offset += count
    return digest.hexdigest()


def read_into(handle: int, buffer: memoryview, offset: int) -> int:
    """Read from `offset` into a buffer; returns the count, 0 at the end of the file."""
    if hasattr(os, "preadv"):
        return os.preadv(handle, [buffer], offset)
    data = os.pread(handle, len(buffer), offset)
    buffer[: len(data)] = data
    return len(data)


def file_matches(path: Path, source: Source, stop: threading.Event, progress: Progress) -> bool:
    """Whether a file of the right size has the source's hash; raises Stopped and StorageError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    follower = Follower(handle, path, source, progress)
    try:
        follower.advance(source.size_bytes)
        while not stop.is_set():
            if (found := follower.result(_POLL_SECONDS)) is not None:
                return matches(found, source)
        raise Stopped
    finally:
        follower.close()
        os.close(handle)


class Follower:
    """A thread that hashes the contiguous beginning of an open file, as far as it is said to be there."""

    def __init__(self, handle: int, path: Path, source: Source, progress: Progress) -> None:
        self.position = 0
        self.error: RbeeError | None = None
        self._handle = handle
        self._path = path
        self._size = source.size_bytes
        self._hash = start(source)
        self._progress = progress
        self._ready = 0
        self._closed = False
        self._changed = threading.Condition()
        self._done = threading.Event()
        progress.hashed = 0
        self._thread = threading.Thread(target=self._run, name="rbee-hash", daemon=True)
        self._thread.start()

    def advance(self, ready: int) -> None:
        """Say that the file is there up to `ready`."""
        with self._changed:
            self._ready = max(self._ready, ready)
            if self._is_due():
                self._changed.notify()

    def result(self, wait: float) -> str | None:
        """The hash of the whole file, waiting up to `wait` seconds; None when it is not done yet."""
        self._done.wait(wait)
        if self.error:
            raise self.error
        return self._hash.hexdigest() if self._done.is_set() and self.position == self._size else None

    def close(self) -> None:
        """End the thread; the file may be closed afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        priority.yield_by(priority.HASH)
        reads_most = False
        try:
            buffer = memoryview(bytearray(min(_READ, max(1, self._size))))
            while (end := self._next()) is not None:
                if not reads_most and end - self.position >= _BEHIND and _READS_MOST.acquire(blocking=False):
                    reads_most = True
                    buffer = memoryview(bytearray(_READ_MOST))
                self._take(buffer, end)
        except OSError as error:
            reason = error.strerror or str(error)
            self.error = StorageError(f"cannot read {clean(str(self._path))}: {reason}")
        finally:
            if reads_most:
                _READS_MOST.release()
            self._done.set()

    def _next(self) -> int | None:
        """How far to hash; None at the end."""
        with self._changed:
            while not self._closed and self.position < self._size and not self._is_due():
                self._changed.wait()
            return None if self._closed or self.position >= self._size else self._ready

    def _is_due(self) -> bool:
        """Whether enough is there, or all that is left."""
        return self._ready - self.position >= min(_WORTH, self._size - self.position)

    def _take(self, buffer: memoryview, end: int) -> None:
        while self.position < end and not self._closed:
            count = read_into(self._handle, buffer[: end - self.position], self.position)
            if count == 0:
                raise OSError(0, "it became shorter while it was read")
            self._hash.update(buffer[:count])
            self.position += count
            self._progress.hashed = self.position
