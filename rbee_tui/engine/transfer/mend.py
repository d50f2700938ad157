"""A published file that went bad: which of its blocks, and taking it back so that only those are fetched."""

import os
import shutil
import threading
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.paths import sync_directory
from rbee_tui.engine.transfer import hashing, journal, plan
from rbee_tui.engine.transfer.journal import Block, Checkpoint
from rbee_tui.engine.transfer.naming import blocks_path, journal_path
from rbee_tui.engine.transfer.source import Limits, Progress, Source, Stopped


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Which blocks of a file still have their digest."""

    grid: int
    good: list[Block]
    blocks: int
    """How many there are in all."""
    note: str = ""
    """Why everything must be fetched, where it must."""

    @property
    def bad_blocks(self) -> int:
        """How many are to be fetched."""
        return self.blocks - len(self.good)

    def bad_bytes(self, size: int) -> int:
        """How many bytes of a file of `size` bytes are to be fetched."""
        return size - sum(block.length for block in self.good)


def inspect(target: Path, source: Source, stop: threading.Event, progress: Progress) -> Damage:
    """Compare a file whose hash is wrong with its block digests; raises Stopped and StorageError."""
    loaded = journal.load(blocks_path(target))
    header = loaded.header
    if header is None or plan.why_foreign(header, source):
        return _everything(source, "it has no block digests")
    known = {**loaded.trusted, **loaded.unproven}
    total = -(-source.size_bytes // header.grid)
    good: list[Block] = []
    with durable.storage("read", target):
        try:
            handle = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return _everything(source, "it is gone")
        try:
            for _, block in sorted(known.items()):
                if stop.is_set():
                    raise Stopped
                if hashing.block_digest(handle, block.offset, block.length) == block.digest:
                    good.append(block)
                progress.hashed = block.end
        finally:
            os.close(handle)
    if len(good) == total:
        return _everything(source, "each block has its digest, and yet the whole is wrong")
    return Damage(grid=header.grid, good=good, blocks=total)


def _everything(source: Source, note: str) -> Damage:
    grid = Limits().grid
    return Damage(grid=grid, good=[], blocks=-(-source.size_bytes // grid), note=note)


def take_back(target: Path, part: Path, source: Source, damage: Damage) -> None:
    """Make a published file an arriving one whose journal holds the good blocks; `fetch()` goes on from it.

    The caller holds the artifact's lock. A death in between loses nothing but the knowledge of good blocks.
    """
    content = journal.digests(plan.header(source, damage.grid), damage.good)
    content += journal.encode(Checkpoint(len(content), []))
    with durable.storage("take back", target):
        if not os.path.lexists(target):
            return
        durable.write(journal_path(part), content, 0o600)
        if target.stat().st_nlink > 1:
            # Another name holds the same bytes, and they are not ours to write into.
            shutil.copyfile(target, part)
            target.unlink()
        else:
            target.replace(part)
        sync_directory(part.parent)
        sync_directory(target.parent)
