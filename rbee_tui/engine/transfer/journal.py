r"""The journal of an arriving file, and the block digests of a published one: format, reader, writer.

Version 1
---------
A file of lines. Each line is `CCCCCCCC JSON\n`: the CRC-32 of the JSON's bytes as eight lower-case hex
digits, a space, one JSON object whose `kind` says what it is. A line whose CRC or form is wrong is ignored
wherever it stands, and so is a kind or key that the reader does not know.

`header`, always the first line::

    {"kind":"header","version":1,"endpoint":"https://huggingface.co","repo":"owner/name","commit":"<sha>",
     "path":"file.gguf","size":4368439584,"oid":"sha256:<hex>","grid":8388608,"digest":"xxh3_128"}

`oid` is the identity of the content: `sha256:<hex>`, `git:<hex>` (a git blob id), or empty where the Hub gave
none; then commit and path are the identity. `grid` is the block size in bytes: block n covers
[n*grid, min((n+1)*grid, size)). Without a valid header the journal says nothing.

`block`: these bytes of the part were written, and this is their digest (hex)::

    {"kind":"block","offset":16777216,"length":8388608,"digest":"<32 hex digits>"}

A line that covers exactly one block of the grid is that block. A shorter one is a piece: it lies within one
block, starts anywhere in it, and a later piece with the same offset replaces it. Pieces of several streams
may lie in one block, blocks stand in any order, and a later line for a block replaces an earlier one. These
lines are appended when the bytes were written, and not synced: they survive the death of the process, not a
power cut.

`checkpoint`: the part was synced after what the first `covers` bytes of this journal name had been written::

    {"kind":"checkpoint","covers":18432,"streams":[{"kind":"block","offset":...,"length":...,"digest":...}]}

`streams` holds each stream's unfinished piece at that moment; it is covered too. The journal is synced after
this line. Lines appended while the sync ran stand before the checkpoint and beyond `covers`.

Reading: blocks within the largest `covers` are trusted. Any other block, and every piece, is read from the
part and its digest compared. A file's size and its holes prove nothing.

Opening for writing first replaces the journal by a compacted one: header, blocks in order, one checkpoint.
The digests beside a published file have the same form: header and every block, no checkpoint.
"""

import glob
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.errors import StorageError
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import clean

VERSION = 1
DIGEST = "xxh3_128"
_MAX_LINE_BYTES = 1 << 20


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="header", kw_only=True):
    """What the bytes belong to, and how they are divided."""

    version: int = VERSION
    endpoint: str
    repo: str
    commit: str
    path: str
    size: int
    oid: str
    grid: int
    digest: str = DIGEST


class Block(msgspec.Struct, frozen=True, tag_field="kind", tag="block"):
    """Bytes that were written: a whole block of the grid, or a piece of one."""

    offset: int
    length: int
    digest: str

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return self.offset + self.length


class Checkpoint(msgspec.Struct, frozen=True, tag_field="kind", tag="checkpoint"):
    """The part was synced after the first `covers` bytes of the journal had been written."""

    covers: int
    streams: list[Block]


class Loaded(msgspec.Struct, frozen=True):
    """What a journal says; `header` is None when there is none that can be read."""

    header: Header | None = None
    trusted: dict[int, Block] = {}
    """Whole blocks that were synced, by offset."""
    unproven: dict[int, Block] = {}
    """Whole blocks to be compared with their digest first, by offset."""
    pieces: dict[int, Block] = {}
    """Pieces of unfinished blocks, by offset; always to be compared."""


_Line = Header | Block | Checkpoint
_decoder: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


def load(path: Path) -> Loaded:
    """Read a journal; whatever cannot be read in it is ignored. Raises StorageError when the disk refuses."""
    found: list[tuple[int, Block]] = []
    header: Header | None = None
    covers = 0
    latest: dict[int, int] = {}
    with durable.storage("read", path):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return Loaded()
        with file:
            at = 0
            while raw := file.readline(_MAX_LINE_BYTES):
                line = decode(raw)
                if at == 0 and not isinstance(line, Header):
                    return Loaded()
                if isinstance(line, Header):
                    header = header or line
                elif isinstance(line, Block):
                    found.append((at, line))
                    latest[line.offset] = line.length
                elif line is not None:
                    covers = max(covers, line.covers)
                    # A piece that grew while the sync ran is told by a line before this one.
                    found.extend((at, p) for p in line.streams if p.length > latest.get(p.offset, 0))
                at += len(raw)
    return _sort(header, found, covers) if header else Loaded()


def _sort(header: Header, found: list[tuple[int, Block]], covers: int) -> Loaded:
    loaded = Loaded(header, {}, {}, {})
    for at, block in found:
        shape = _shape(block, header)
        if shape == "piece":
            loaded.pieces[block.offset] = block
        elif shape == "block":
            loaded.trusted.pop(block.offset, None)
            loaded.unproven.pop(block.offset, None)
            (loaded.trusted if at < covers else loaded.unproven)[block.offset] = block
    for offset in [offset for offset in loaded.pieces if _whole(offset, header, loaded)]:
        del loaded.pieces[offset]
    return loaded


def _whole(offset: int, header: Header, loaded: Loaded) -> bool:
    start = offset - offset % header.grid
    return start in loaded.trusted or start in loaded.unproven


def _shape(block: Block, header: Header) -> str:
    """Whether a line is a whole `block`, a `piece`, or `nothing`, being out of bounds."""
    if header.grid <= 0 or block.offset < 0 or block.length <= 0 or block.end > header.size:
        return "nothing"
    start = block.offset - block.offset % header.grid
    end = min(start + header.grid, header.size)
    if block.end > end:
        return "nothing"
    return "block" if (block.offset, block.end) == (start, end) else "piece"


def decode(raw: bytes) -> _Line | None:
    """A line of the journal; None when it is torn, damaged or of a kind that this version does not know."""
    if len(raw) < len("00000000 {}\n") or not raw.endswith(b"\n"):
        return None
    try:
        if int(raw[:8], 16) != zlib.crc32(raw[9:-1]):
            return None
        return _decoder.decode(raw[9:-1])
    except (ValueError, *UNDECODABLE):
        return None


def encode(line: _Line) -> bytes:
    """A line of the journal, with its CRC and its end."""
    text = msgspec.json.encode(line)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def digests(header: Header, blocks: Iterable[Block]) -> bytes:
    """The content of the file of block digests beside a published file."""
    return b"".join([encode(header), *map(encode, blocks)])


class Journal:
    """The one writer of a journal; the caller holds the transfer's lock, and its own around each call."""

    def __init__(self, path: Path, header: Header, blocks: Iterable[Block], pieces: Iterable[Block]) -> None:
        """Replace the journal by a compacted one; the part's data must be synced before."""
        self.path = path
        content = digests(header, blocks)
        content += encode(Checkpoint(len(content), list(pieces)))
        durable.write(path, content, 0o600)
        self.length = len(content)
        with durable.storage("open", path):
            self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, line: Block | Checkpoint) -> None:
        """Append a line, wholly or not at all, unsynced; raises NoSpaceError or StorageError."""
        raw = encode(line)
        with durable.storage("write", self.path):
            try:
                durable.write_all(self._handle, raw)
            except OSError:
                # A torn line in the middle would take the next one with it.
                os.ftruncate(self._handle, self.length)
                raise
        self.length += len(raw)

    def sync(self) -> None:
        """Bring the journal to the disk."""
        with durable.storage("sync", self.path):
            sync_data(self._handle)

    def close(self) -> None:
        """Close the file; does nothing the second time."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def sync_data(handle: int) -> None:
    """Bring a file's data, and what is needed to read it, to the disk."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(handle)
    else:
        durable.sync_file(handle)


def sweep(path: Path) -> None:
    """Remove what a killed writer of this file left beside it; the caller is its only writer now."""
    with durable.storage("clear", path.parent):
        for left in path.parent.glob(f".{glob.escape(path.name[:100])}.*.tmp"):
            left.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file that may not be there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {clean(str(path))}: {error.strerror}") from error
