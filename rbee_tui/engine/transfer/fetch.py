"""One file from the Hub to its place: resumed, fetched, verified, published. Blocking, in a worker thread."""

import os
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rbee_tui.engine import durable
from rbee_tui.engine.errors import IntegrityError, RbeeError, RefusedError, UsageError
from rbee_tui.engine.paths import SHARED_MODE, make_directory, sync_directory
from rbee_tui.engine.text import clean, size
from rbee_tui.engine.transfer import hashing, journal, plan, room
from rbee_tui.engine.transfer.crew import Crew
from rbee_tui.engine.transfer.journal import Block
from rbee_tui.engine.transfer.naming import blocks_path, journal_path
from rbee_tui.engine.transfer.patience import Patience
from rbee_tui.engine.transfer.sink import Checkpointer, Sink
from rbee_tui.engine.transfer.source import Fetched, Limits, Progress, Proof, Source, Stopped
from rbee_tui.engine.transfer.traffic import Traffic

if TYPE_CHECKING:
    from rbee_tui.engine.transfer.wire import Wire

_FILE_MODE = 0o644
_ROT_ROUNDS = 3


def fetch(  # noqa: PLR0913 - the contract between the queue and the transfer
    source: Source,
    *,
    part: Path,
    target: Path,
    token: str | None,
    stop: threading.Event,
    progress: Progress,
    lock: Path,
    limits: Limits | None = None,
    traffic: Traffic | None = None,
    job: str = "",
    gentle: bool = False,
) -> Fetched:
    """Bring `source` to `target`, going on from `part` and its journal; returns once it survives a power cut.

    `traffic` is what it shares with other transfers, connections fairly by `job`; a `gentle` one yields to
    others on the line.
    Raises Stopped when `stop` is set, else an RbeeError: AccessError, NotFoundError, RateLimitedError,
    HubError, NetworkError, NoSpaceError, IntegrityError, StorageError, or BusyError when another process has
    the lock.
    """
    if source.size_bytes < 0:
        raise UsageError(f"{source.label} cannot have {source.size_bytes} bytes")
    progress.total = source.size_bytes
    with durable.Lock(lock, "download"):
        if not part.exists() and already_there(source, target, known=False, stop=stop, progress=progress):
            # Published, but ended before the journal was removed.
            journal.remove(journal_path(part))
            return _fetched(source, source.sha256 or source.blob_id or "", progress, 0)
        limits = limits or Limits()
        shared = traffic or Traffic(limits)
        transfer = _Transfer(
            source, part, target, token, stop, progress, limits=limits, traffic=shared, job=job, gentle=gentle
        )
        try:
            return transfer.run()
        finally:
            transfer.close()


def already_there(
    source: Source, target: Path, *, known: bool, stop: threading.Event, progress: Progress
) -> bool:
    """Whether `target` is the source's file: by size where that is `known` from a record, else by its hash.

    A file without a hash at the Hub is never taken for it unless known. Raises Stopped and StorageError.
    """
    with durable.storage("read", target):
        try:
            found = target.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(found.st_mode) or found.st_size != source.size_bytes:
            return False
        if not known:
            progress.state = "hashing"
            progress.total = source.size_bytes
            if not source.oid or not hashing.file_matches(target, source, stop, progress):
                progress.state = "waiting"
                return False
    progress.kept = progress.hashed = source.size_bytes
    progress.state = "done"
    return True


def discard(part: Path) -> None:
    """Remove an arriving file and its journal; the caller sees to it that nobody writes them."""
    journal.remove(part)
    journal.remove(journal_path(part))
    journal.sweep(journal_path(part))


def _fetched(source: Source, found: str, progress: Progress, received: int) -> Fetched:
    proof: Proof = "sha256" if source.sha256 else "git" if source.blob_id else "size"
    unproven = "the Hub gives no hash for this file: only its size was compared" if proof == "size" else ""
    return Fetched(
        sha256=None if proof == "git" else found,
        blob_id=found if proof == "git" else None,
        fetched_bytes=received,
        kept_bytes=progress.kept,
        verified_by=proof,
        note="; ".join(filter(None, (progress.note, unproven))),
    )


class _Transfer:
    """The thread that conducts a transfer: resumes, lets a crew fetch, compares hashes, publishes."""

    def __init__(  # noqa: PLR0913 - the arguments of `fetch()`
        self,
        source: Source,
        part: Path,
        target: Path,
        token: str | None,
        stop: threading.Event,
        progress: Progress,
        *,
        limits: Limits,
        traffic: Traffic,
        job: str,
        gentle: bool,
    ) -> None:
        self._source = source
        self._part = part
        self._target = target
        self._token = token
        self._stop = stop
        self._progress = progress
        self._limits = limits
        self._traffic = traffic
        self._job = job
        self._gentle = gentle
        self._handle = -1
        self._sink: Sink | None = None
        self._checkpointer: Checkpointer | None = None
        self._arrived = 0

    def run(self) -> Fetched:
        """Resume, fetch, verify, publish."""
        self._progress.state = "hashing"
        sink = self._resume()
        found = self._bring(sink)
        self._progress.state = "publishing"
        self._publish(sink)
        self._progress.state = "done"
        return _fetched(self._source, found, self._progress, sink.received)

    def close(self) -> None:
        """End the threads and close the files; the journal is as good as it can be made without waiting."""
        self._progress.connections = 0
        self._progress.waiting_for = ""
        if self._checkpointer:
            self._checkpointer.close()
        if self._sink:
            if not self._stop.is_set():
                # The error that ended the transfer is the one to tell.
                with suppress(RbeeError):
                    self._sink.checkpoint()
            self._sink.close()
        if self._handle >= 0:
            os.close(self._handle)

    # From disk

    def _resume(self) -> Sink:
        found = self._open()
        journal.sweep(journal_path(self._part))
        journal.sweep(blocks_path(self._target))
        loaded = journal.load(journal_path(self._part))
        decision = plan.resume(loaded, self._source, found, self._limits)
        sink = self._sink = Sink(
            self._handle, self._part, self._source, decision.grid, self._limits, self._progress
        )
        for block in decision.trusted:
            sink.keep(block)
        for block in decision.unproven:
            self._heed_stop()
            with durable.storage("read", self._part):
                if sink.holds(block):
                    sink.keep(block)
        self._progress.note = decision.note
        if not sink.total and decision.unproven:
            self._progress.note = "starting at zero: what was there has changed on the disk"
        room.reserve(self._handle, self._part, self._source.size_bytes)
        sink.begin()
        self._checkpointer = Checkpointer(sink, self._limits)
        return sink

    def _open(self) -> int | None:
        """Open the part, making it where it is missing; returns its size, None when it was made."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with durable.storage("open", self._part):
            existed = os.path.lexists(self._part)
            if existed and not stat.S_ISREG(self._part.lstat().st_mode):
                raise RefusedError(
                    f"{clean(str(self._part))} is not a file", hint="somebody put it there: remove it"
                )
            self._handle = os.open(self._part, flags, _FILE_MODE)
            return os.fstat(self._handle).st_size if existed else None

    # From the Hub

    def _bring(self, sink: Sink) -> str:
        """Fetch until the hash is right, and return it; raises IntegrityError after a second wrong copy."""
        wire: Wire | None = None
        patience = Patience(self._limits, self._source.label, time.monotonic())
        first: dict[int, Block] | None = None
        rot_rounds = 0
        while True:
            self._progress.state = "fetching"
            if sink.gap() is not None:
                wire = wire or self._wire()
                self._arrived = self._crew(wire, sink, patience).bring(self._heed)
                if self._checkpointer:
                    self._checkpointer.hurry()
            found = self._hash(sink)
            if hashing.matches(found, self._source):
                return found
            bad = sink.rotted() if rot_rounds < _ROT_ROUNDS else []
            if bad:
                rot_rounds += 1
                self._again(sink, bad, f"{len(bad)} damaged blocks are fetched again")
            elif first is None:
                first = dict(sink.blocks)
                wire = None
                self._again(sink, sink.ordered(), "the hash is wrong: everything is fetched once more")
            else:
                raise self._give_up(sink, first)

    def _wire(self) -> "Wire":
        from rbee_tui.engine.transfer.wire import Wire  # noqa: PLC0415 - urllib3 is slow to import

        return Wire(self._source, self._token, self._limits)

    def _again(self, sink: Sink, bad: list[Block], note: str) -> None:
        for block in bad:
            sink.drop(block)
        sink.rehash()
        sink.begin()
        self._progress.note = note

    def _give_up(self, sink: Sink, first: dict[int, Block]) -> IntegrityError:
        """The error after a second wrong copy; neither copy is worth keeping."""
        differing = [b for b in sink.ordered() if first.get(b.offset) != b]
        where = ", ".join(f"{size(b.offset)} to {size(b.end)}" for b in differing[:3])
        detail = (
            f"two downloads of it differ in {len(differing)} of {len(sink.blocks)} blocks ({where})"
            if differing
            else f"{self._source.server} sent the same bytes twice"
        )
        discard(self._part)
        kind = "sha256" if self._source.sha256 else "git blob id"
        return IntegrityError(
            f"{self._source.label} does not match the {kind} that {self._source.server} lists: {detail}",
            hint="it was not taken; try another network or mirror, or tell its owner",
        )

    def _crew(self, wire: "Wire", sink: Sink, patience: Patience) -> Crew:
        return Crew(
            wire,
            sink,
            patience,
            self._traffic,
            self._limits,
            self._progress,
            endpoint=self._source.endpoint,
            party=self._job,
            gentle=self._gentle,
            before=self._arrived,
        )

    def _heed(self) -> None:
        """Raise what ends the transfer from outside the crew: a stop, or a failure in another thread."""
        self._heed_stop()
        self._raise_failures()

    def _hash(self, sink: Sink) -> str:
        self._progress.state = "hashing"
        while (found := sink.follower.result(self._limits.poll)) is None:
            self._heed()
        return found

    def _raise_failures(self) -> None:
        """Raise what went wrong in the other threads."""
        for worker in (self._sink and self._sink.follower, self._checkpointer):
            if worker and worker.error:
                raise worker.error

    def _heed_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    # To its place

    def _publish(self, sink: Sink) -> None:
        make_directory(self._target.parent, SHARED_MODE)
        header = plan.header(self._source, sink.grid)
        durable.write(blocks_path(self._target), journal.digests(header, sink.ordered()), _FILE_MODE)
        with durable.storage("publish", self._target):
            os.fchmod(self._handle, _FILE_MODE)
            durable.sync_file(self._handle)
            self._part.replace(self._target)
            sync_directory(self._target.parent)
        sink.close()
        journal.remove(journal_path(self._part))
