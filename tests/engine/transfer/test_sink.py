"""Where bytes land: several streams at once, checkpoints that promise only what was synced."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.transfer import Limits, Progress, Source, hashing, journal, journal_path
from rbee_tui.engine.transfer import sink as sinks
from rbee_tui.engine.transfer.journal import load
from rbee_tui.engine.transfer.sink import Checkpointer, Sink
from tests.engine.transfer.server import FAST, content, wait_until

GRID = FAST.grid
DATA = content(1)
SOURCE = Source("https://hub.example", "owner/tiny", "c" * 40, "model.gguf", len(DATA), "a" * 64)


class Sunk:
    """A sink over an open part."""

    def __init__(self, directory: Path, limits: Limits = FAST) -> None:
        self.part = directory / "x.part"
        self.journal = journal_path(self.part)
        self.handle = os.open(self.part, os.O_RDWR | os.O_CREAT)
        self.progress = Progress()
        self.sink = Sink(self.handle, self.part, SOURCE, GRID, limits, self.progress)
        self.sink.begin()

    def close(self) -> None:
        self.sink.close()
        os.close(self.handle)


@pytest.fixture
def sunk(tmp_path: Path) -> Iterator[Sunk]:
    found = Sunk(tmp_path)
    yield found
    found.close()


class TestStreams:
    """Several connections write one file."""

    def test_a_block_of_two_streams(self, sunk: Sunk) -> None:
        """Each writes its part of a block; the one that completes it writes down the digest of the whole."""
        rear, front = sunk.sink.stream(1000), sunk.sink.stream(0)
        sunk.sink.write(rear, memoryview(DATA)[1000 : GRID + 500])
        sunk.sink.leave(rear)
        assert not sunk.sink.blocks
        found = load(sunk.journal)
        assert {piece.offset: piece.end for piece in found.pieces.values()} == {1000: GRID, GRID: GRID + 500}
        sunk.sink.write(front, memoryview(DATA)[:1000])
        whole = load(sunk.journal).unproven[0]
        assert whole == sunk.sink.blocks[0]
        assert hashing.block_digest(sunk.handle, 0, GRID) == whole.digest
        assert sunk.progress.received == GRID + 500

    def test_the_hash_follows_the_beginning_only(self, sunk: Sunk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bytes behind a hole wait; when it is filled the hash goes on to them."""
        monkeypatch.setattr(hashing, "_WORTH", 1)
        rear, front = sunk.sink.stream(GRID), sunk.sink.stream(0)
        sunk.sink.write(rear, memoryview(DATA)[GRID:])
        sunk.sink.write(front, memoryview(DATA)[: GRID // 2])
        wait_until(lambda: sunk.progress.hashed == GRID // 2)
        sunk.sink.write(front, memoryview(DATA)[GRID // 2 : GRID])
        wait_until(lambda: sunk.progress.hashed == len(DATA))
        assert sunk.sink.gap() is None

    def test_the_hash_wakes_for_what_is_worth_it(self, sunk: Sunk, monkeypatch: pytest.MonkeyPatch) -> None:
        """It leaves a few bytes until there are more, and takes all that is left however little."""
        monkeypatch.setattr(hashing, "_WORTH", len(DATA) - 10)
        stream = sunk.sink.stream(0)
        sunk.sink.write(stream, memoryview(DATA)[:-11])
        assert sunk.sink.follower.result(0.05) is None
        assert sunk.progress.hashed == 0
        sunk.sink.write(stream, memoryview(DATA)[-11:-5])
        wait_until(lambda: sunk.progress.hashed == len(DATA) - 5)
        sunk.sink.write(stream, memoryview(DATA)[-5:])
        wait_until(lambda: sunk.progress.hashed == len(DATA))


class TestCheckpoints:
    """A checkpoint never covers what came after the sync began."""

    def test_bytes_that_arrive_during_the_sync(self, sunk: Sunk, monkeypatch: pytest.MonkeyPatch) -> None:
        """A block written while the sync runs stays unproven, though its line is before the checkpoint's."""
        stream = sunk.sink.stream(0)
        sunk.sink.write(stream, memoryview(DATA)[:GRID])

        def meanwhile(handle: int) -> None:
            monkeypatch.setattr(sinks, "sync_data", journal.sync_data)
            sunk.sink.write(stream, memoryview(DATA)[GRID : 2 * GRID])

        monkeypatch.setattr(sinks, "sync_data", meanwhile)
        sunk.sink.checkpoint()
        found = load(sunk.journal)
        assert (set(found.trusted), set(found.unproven)) == ({0}, {GRID})

    def test_nothing_new_is_no_checkpoint(self, sunk: Sunk) -> None:
        """Without new bytes nothing is synced and nothing is written."""
        before = sunk.journal.stat().st_size
        sunk.sink.checkpoint()
        assert sunk.journal.stat().st_size == before

    def test_at_once_when_nothing_more_arrives(self, tmp_path: Path) -> None:
        """The disk works while the hash takes its last moment; for less than a block it is not asked."""
        limits = msgspec.structs.replace(FAST, poll=60.0, checkpoint_bytes=1 << 30, checkpoint_seconds=60.0)
        sunk = Sunk(tmp_path, limits)
        checkpointer = Checkpointer(sunk.sink, limits)
        stream = sunk.sink.stream(0)
        sunk.sink.write(stream, memoryview(DATA)[: GRID - 1])
        checkpointer.hurry()
        time.sleep(0.05)
        assert sunk.sink.unsynced == GRID - 1
        sunk.sink.write(stream, memoryview(DATA)[GRID - 1 : GRID])
        checkpointer.hurry()
        wait_until(lambda: set(load(sunk.journal).trusted) == {0})
        checkpointer.close()
        sunk.close()


class TestHoldingBack:
    """Reading waits for the hash and for the disk, never for bytes of an earlier transfer."""

    def test_the_hash_is_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """More than the backlog unhashed, after the hash had caught up, makes reading wait."""
        monkeypatch.setattr(hashing.Follower, "advance", lambda *_: None)
        sunk = Sunk(tmp_path, msgspec.structs.replace(FAST, backlog=1000))
        try:
            stream = sunk.sink.stream(0)
            sunk.sink.write(stream, memoryview(DATA)[:1000])
            assert not sunk.sink.crowded()
            sunk.sink.write(stream, memoryview(DATA)[1000:1001])
            assert sunk.sink.crowded()
        finally:
            sunk.close()

    def test_kept_bytes_do_not_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the hash is still among the kept bytes, new ones come in as fast as they can."""
        monkeypatch.setattr(hashing.Follower, "advance", lambda *_: None)
        sunk = Sunk(tmp_path, msgspec.structs.replace(FAST, backlog=1000))
        try:
            sunk.sink.keep(journal.Block(0, GRID, "1"))
            sunk.sink.begin()
            sunk.sink.write(sunk.sink.stream(GRID), memoryview(DATA)[GRID:])
            assert not sunk.sink.crowded()
        finally:
            sunk.close()

    def test_the_disk_is_behind(self, tmp_path: Path) -> None:
        """Too much unsynced for too long makes reading wait; a checkpoint lets it go on."""
        sunk = Sunk(tmp_path, msgspec.structs.replace(FAST, unsynced=1000, checkpoint_seconds=0.0))
        try:
            sunk.sink.write(sunk.sink.stream(0), memoryview(DATA)[:2000])
            assert sunk.sink.crowded()
            sunk.sink.checkpoint()
            assert not sunk.sink.crowded()
        finally:
            sunk.close()
