"""Where the bytes of one file land: written, digested block by block, journaled, and synced behind them."""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import xxhash

from rbee_tui.engine import durable
from rbee_tui.engine.errors import RbeeError, StorageError
from rbee_tui.engine.transfer import hashing, plan
from rbee_tui.engine.transfer.hashing import Follower
from rbee_tui.engine.transfer.journal import Block, Checkpoint, Journal, sync_data
from rbee_tui.engine.transfer.naming import journal_path
from rbee_tui.engine.transfer.source import Limits, Progress, Source
from rbee_tui.engine.transfer.spans import Gap, Spans


class Stream:
    """One connection's place in the file, and the digest of its piece of the block at that place."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.piece_start = position
        self.noted = position
        """How far the journal knows of this piece."""
        self.digest = xxhash.xxh3_128()

    def piece(self) -> Block:
        """The unfinished piece."""
        return Block(self.piece_start, self.position - self.piece_start, self.digest.hexdigest())

    def turn(self) -> None:
        """Begin a new piece at this place."""
        self.piece_start = self.noted = self.position
        self.digest = xxhash.xxh3_128()


class Sink:
    """One arriving file. `write` may be called by several streams; the part is open as `handle`."""

    def __init__(
        self, handle: int, part: Path, source: Source, grid: int, limits: Limits, progress: Progress
    ) -> None:
        self.handle = handle
        self.part = part
        self.grid = grid
        self.blocks: dict[int, Block] = {}
        """The digest of each finished block, by offset."""
        self.received = 0
        self.spread = 0
        """Bytes of the segments that are under way: so far the contiguous beginning may jump at once."""
        self.follower = Follower(handle, part, source, progress)
        self._source = source
        self.size = source.size_bytes
        self._limits = limits
        self._progress = progress
        self._spans = Spans()
        self._pieces: dict[int, Block] = {}
        self._streams: set[Stream] = set()
        self._journal: Journal | None = None
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._sync_failed = False
        self._synced = 0
        self._synced_at = time.monotonic()
        self._kept_prefix = 0
        self._hash_caught_up = False

    # What is there

    def keep(self, block: Block) -> None:
        """Take over bytes of an earlier transfer that have been judged good."""
        if block.end - block.offset == self._block_end(block.offset) - self._block_start(block.offset):
            self.blocks[block.offset] = block
        else:
            self._pieces[block.offset] = block
        self._spans.add(block.offset, block.end)

    def drop(self, block: Block) -> None:
        """Forget a finished block: its bytes are to be fetched again."""
        self.blocks.pop(block.offset, None)
        self._spans.remove(block.offset, block.end)

    def begin(self) -> None:
        """Write the compacted journal of what is there, and let the hash follow it from the start."""
        with self._syncing, self._lock:
            with durable.storage("sync", self.part):
                sync_data(self.handle)
            if self._journal:
                self._journal.close()
            header = plan.header(self._source, self.grid)
            self._journal = Journal(journal_path(self.part), header, self.ordered(), self._pieces.values())
            self._synced, self._synced_at = self.received, time.monotonic()
        self._progress.kept = self._spans.total()
        self._progress.received = 0
        self._kept_prefix = self._spans.prefix()
        self._hash_caught_up = False
        self.follower.advance(self._kept_prefix)

    def rehash(self) -> None:
        """Let the hash begin anew, after bytes that it has seen turned out bad."""
        self.follower.close()
        self.follower = Follower(self.handle, self.part, self._source, self._progress)

    @property
    def total(self) -> int:
        """How many bytes are there."""
        return self._spans.total()

    @property
    def missing(self) -> int:
        """How many bytes are not there."""
        with self._lock:
            return self.size - self._spans.total()

    def ordered(self) -> list[Block]:
        """The finished blocks in file order."""
        return [self.blocks[offset] for offset in sorted(self.blocks)]

    def gap(self, taken: Iterable[Gap] = ()) -> Gap | None:
        """The first bytes that are missing and that nobody has taken; None when there are none."""
        with self._lock:
            spans = self._spans.copy()
        for each in taken:
            spans.add(*each)
        return spans.first_gap(self.size)

    def rotted(self) -> list[Block]:
        """Finished blocks whose bytes on disk no longer have their digest."""
        with durable.storage("read", self.part):
            return [b for b in self.ordered() if not self.holds(b)]

    def holds(self, block: Block) -> bool:
        """Whether the part has the bytes that a block's digest names."""
        return hashing.block_digest(self.handle, block.offset, block.length) == block.digest

    # Bytes arrive

    def stream(self, position: int) -> Stream:
        """A new connection's place in the file."""
        stream = Stream(position)
        with self._lock:
            self._streams.add(stream)
        return stream

    def leave(self, stream: Stream) -> None:
        """A connection is over; what it brought of an unfinished block is written down."""
        with self._lock:
            self._streams.discard(stream)
            if stream.position > stream.piece_start:
                self._note(stream)

    def write(self, stream: Stream, data: memoryview) -> None:
        """Write bytes at a stream's place; raises NoSpaceError or StorageError."""
        while data:
            part = data[: self._block_end(stream.position) - stream.position]
            with durable.storage("write", self.part):
                _write_at(self.handle, part, stream.position)
            with self._lock:
                self._arrived(stream, part)
            data = data[len(part) :]

    def _arrived(self, stream: Stream, part: memoryview) -> None:
        stream.digest.update(part)
        stream.position += len(part)
        self._spans.add(stream.piece_start, stream.position)
        self.received += len(part)
        self._progress.received += len(part)
        start = self._block_start(stream.position - 1)
        end = self._block_end(start)
        if self._spans.covers(start, end):
            self._finish(stream, start, end)
            stream.turn()
        elif stream.position == end:
            self._note(stream)
            stream.turn()
        elif stream.position - stream.noted >= self._limits.piece:
            self._note(stream)
        self.follower.advance(self._spans.prefix())

    def _finish(self, stream: Stream, start: int, end: int) -> None:
        """Write down a finished block; one that did not come in one piece is digested by reading it back."""
        if (stream.piece_start, stream.position) == (start, end):
            digest: str | None = stream.digest.hexdigest()
        else:
            with durable.storage("read", self.part):
                digest = hashing.block_digest(self.handle, start, end - start)
        if digest is None:
            raise StorageError(f"{self.part.name} became shorter while it was written")
        block = Block(start, end - start, digest)
        self.blocks[start] = block
        for offset in [offset for offset in self._pieces if start <= offset < end]:
            del self._pieces[offset]
        self._append(block)

    def _note(self, stream: Stream) -> None:
        piece = stream.piece()
        stream.noted = stream.position
        self._pieces[piece.offset] = piece
        self._append(piece)

    def _append(self, line: Block | Checkpoint) -> None:
        if self._journal:
            self._journal.append(line)

    def _block_start(self, offset: int) -> int:
        return offset - offset % self.grid

    def _block_end(self, offset: int) -> int:
        return min(self._block_start(offset) + self.grid, self.size)

    # Syncing, and holding back

    def checkpoint(self) -> None:
        """Sync the data that is there, then say so in the journal; raises NoSpaceError or StorageError.

        After a sync that failed there is no other: it would succeed without the bytes that were lost.
        """
        with self._syncing:
            if self._sync_failed:
                return
            with self._lock:
                journal, received = self._journal, self.received
                pieces = [s.piece() for s in self._streams if s.position > s.piece_start]
                covers = journal.length if journal else 0
            if journal is None or received == self._synced:
                return
            self._sync_failed = True
            with durable.storage("sync", self.part):
                sync_data(self.handle)
            with self._lock:
                journal.append(Checkpoint(covers, pieces))
            journal.sync()
            self._sync_failed = False
            self._synced, self._synced_at = received, time.monotonic()

    @property
    def unsynced(self) -> int:
        """Bytes that arrived since the last checkpoint."""
        return self.received - self._synced

    def crowded(self) -> bool:
        """Whether reading should wait: too much is unhashed or unsynced.

        Bytes kept from before never hold the transfer back: the hash has to reach the new ones first.
        """
        with self._lock:
            ahead = self._spans.prefix() - self.follower.position
        backlog = self._limits.backlog + self.spread
        if self.follower.position >= self._kept_prefix and ahead <= backlog:
            self._hash_caught_up = True
        late = time.monotonic() - self._synced_at > self._limits.checkpoint_seconds
        return (self._hash_caught_up and ahead > backlog) or (late and self.unsynced > self._limits.unsynced)

    def close(self) -> None:
        """End the hash and close the journal; the part stays open."""
        self.follower.close()
        with self._syncing, self._lock:
            if self._journal:
                self._journal.close()
                self._journal = None


class Checkpointer:
    """A thread that makes checkpoints by time and by bytes, since a sync inside a stream would halve it."""

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self.error: RbeeError | None = None
        self._sink = sink
        self._limits = limits
        self._closed = False
        self._hurried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rbee-sync", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Make a checkpoint now if it is worth it: nothing more arrives, the hash takes a moment longer."""
        if self._sink.unsynced >= self._sink.grid:
            self._hurried.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._hurried.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.monotonic()
        try:
            while True:
                hurried = self._hurried.wait(self._limits.poll)
                if self._closed:
                    return
                self._hurried.clear()
                due = hurried or time.monotonic() - last >= self._limits.checkpoint_seconds
                if due or self._sink.unsynced >= self._limits.checkpoint_bytes:
                    self._sink.checkpoint()
                    last = time.monotonic()
        except RbeeError as error:
            self.error = error


def _write_at(handle: int, data: memoryview, offset: int) -> None:
    """Write every byte: after a short write the next one brings the error that caused it."""
    while data:
        count = os.pwrite(handle, data, offset)
        if count == 0:
            raise OSError(0, "nothing could be written")
        data, offset = data[count:], offset + count
