"""The journal: what is written is read, what is damaged is ignored, what was not synced is not trusted."""

import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbee_tui.engine.transfer.journal import (
    Block,
    Checkpoint,
    Header,
    Journal,
    Loaded,
    decode,
    digests,
    encode,
    load,
)

GRID = 8192
HEADER = Header(
    endpoint="https://hub.example",
    repo="owner/tiny",
    commit="0" * 40,
    path="model.gguf",
    size=5 * GRID + 100,
    oid="sha256:" + "a" * 64,
    grid=GRID,
)
FIRST, SECOND, LAST = Block(0, GRID, "1" * 32), Block(GRID, GRID, "2" * 32), Block(5 * GRID, 100, "3" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.part.journal"


class TestFormat:
    """Version 1, byte for byte: a later rbee must read what this one wrote."""

    def test_lines_are_as_documented(self) -> None:
        """CRC-32 of the JSON in hex, a space, the JSON with its kind first, a newline."""
        line = b'%08x {"kind":"block","offset":0,"length":8192,"digest":"1"}\n' % 0x1C993F03
        assert encode(Block(0, GRID, "1")) == line
        text = encode(HEADER)[9:-1]
        assert msgspec.json.decode(text) == {
            "kind": "header",
            "version": 1,
            "endpoint": "https://hub.example",
            "repo": "owner/tiny",
            "commit": "0" * 40,
            "path": "model.gguf",
            "size": 5 * GRID + 100,
            "oid": "sha256:" + "a" * 64,
            "grid": GRID,
            "digest": "xxh3_128",
        }
        assert encode(HEADER) == b"%08x %s\n" % (zlib.crc32(text), text)

    def test_compacted(self, path: Path) -> None:
        """Opening writes header, blocks and one checkpoint that covers them."""
        Journal(path, HEADER, [FIRST, LAST], [Block(GRID, 5, "9" * 32)]).close()
        body = digests(HEADER, [FIRST, LAST])
        assert path.read_bytes() == body + encode(Checkpoint(len(body), [Block(GRID, 5, "9" * 32)]))
        assert path.stat().st_mode & 0o777 == 0o600

    def test_digests_of_a_published_file_read_as_a_journal(self, path: Path) -> None:
        """The file beside a published one has the same form, and nothing in it is trusted unread."""
        path.write_bytes(digests(HEADER, [FIRST, SECOND, LAST]))
        assert load(path) == Loaded(HEADER, {}, {0: FIRST, GRID: SECOND, 5 * GRID: LAST}, {})


class TestReading:
    """What a reader makes of lines in any order and in any state."""

    def test_lines_beyond_the_checkpoint_are_unproven(self, path: Path) -> None:
        """A block appended while the sync ran stands before the checkpoint's line, and is not trusted."""
        journal = Journal(path, HEADER, [], [])
        journal.append(SECOND)
        covers = journal.length
        journal.append(FIRST)
        journal.append(Checkpoint(covers, []))
        journal.append(LAST)
        journal.close()
        assert load(path) == Loaded(HEADER, {GRID: SECOND}, {0: FIRST, 5 * GRID: LAST}, {})

    def test_several_streams(self, path: Path) -> None:
        """Blocks in any order and pieces of several streams in one block; the last word on a place counts."""
        journal = Journal(path, HEADER, [], [])
        low, high = Block(2 * GRID, 10, "4" * 32), Block(2 * GRID + 4096, 20, "5" * 32)
        longer = Block(2 * GRID, 30, "6" * 32)
        for line in (LAST, low, high, longer, Block(0, 7, "7" * 32), FIRST):
            journal.append(line)
        journal.close()
        assert load(path).unproven == {0: FIRST, 5 * GRID: LAST}
        assert load(path).pieces == {longer.offset: longer, high.offset: high}

    def test_a_piece_that_grew_while_the_sync_ran_keeps_its_length(self, path: Path) -> None:
        """The checkpoint tells the piece as it was when its sync began, and comes after the longer one."""
        journal = Journal(path, HEADER, [], [])
        short, grown = Block(2 * GRID, 10, "4" * 32), Block(2 * GRID, 30, "6" * 32)
        journal.append(grown)
        journal.append(Checkpoint(0, [short]))
        journal.close()
        assert load(path).pieces == {grown.offset: grown}

    def test_a_later_line_replaces_an_earlier_one(self, path: Path) -> None:
        """A block that was fetched again has a new digest, and lost the trust of the old one."""
        journal = Journal(path, HEADER, [FIRST], [])
        journal.append(Block(0, GRID, "8" * 32))
        journal.close()
        assert load(path) == Loaded(HEADER, {}, {0: Block(0, GRID, "8" * 32)}, {})

    @pytest.mark.parametrize(
        "block",
        [
            Block(-1, 5, ""),
            Block(0, 0, ""),
            Block(0, -5, ""),
            Block(4096, GRID, ""),
            Block(5 * GRID, 101, ""),
            Block(1 << 62, 5, ""),
        ],
    )
    def test_impossible_places_are_ignored(self, path: Path, block: Block) -> None:
        """A block that is empty, negative, across the grid or behind the end says nothing."""
        path.write_bytes(encode(HEADER) + encode(block))
        assert load(path) == Loaded(HEADER, {}, {}, {})

    def test_unknown_kinds_are_ignored(self, path: Path) -> None:
        """A line of a later version does not hide the others."""
        text = b'{"kind":"lease","until":5}'
        path.write_bytes(encode(HEADER) + b"%08x %s\n" % (zlib.crc32(text), text) + encode(FIRST))
        assert load(path).unproven == {0: FIRST}

    @pytest.mark.parametrize("raw", [b"", b"\n", b"\0" * 5000, b"GGUF" * 5000, encode(FIRST)])
    def test_without_a_header_it_says_nothing(self, path: Path, raw: bytes) -> None:
        """An empty, zeroed, foreign or beheaded journal is none."""
        path.write_bytes(raw)
        assert load(path) == Loaded()

    def test_none_there(self, path: Path) -> None:
        """A missing journal is none."""
        assert load(path) == Loaded()

    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_damage_costs_only_the_damaged_lines(self, path: Path, data: st.DataObject) -> None:
        """Cut anywhere and with any byte flipped, nothing is read that was not written."""
        lines = [FIRST, SECOND, LAST]
        raw = bytearray(b"".join([encode(HEADER), *map(encode, lines)]))
        del raw[data.draw(st.integers(0, len(raw))) :]
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(raw)
        found = load(path)
        assert found.header in (None, HEADER)
        assert set(found.unproven.values()) <= set(lines)
        assert not found.trusted
        assert not found.pieces

    def test_a_reader_without_the_crc_is_fooled(self) -> None:
        """The mutant: the same flip passes where the CRC is not looked at, so the CRC is what catches it."""
        raw = encode(FIRST).replace(b'"offset":0', b'"offset":8192')
        assert decode(raw) is None
        assert msgspec.json.decode(raw[9:], type=Block) == Block(GRID, GRID, "1" * 32)


class TestAppending:
    """Each line is there wholly or not at all."""

    def test_a_torn_end_does_not_take_the_next_line(self, path: Path) -> None:
        """Compaction removes what a death in the middle of a line left."""
        journal = Journal(path, HEADER, [FIRST], [])
        journal.close()
        with path.open("ab") as file:
            file.write(encode(SECOND)[:20])
        found = load(path)
        journal = Journal(path, HEADER, found.trusted.values(), [])
        journal.append(LAST)
        journal.close()
        assert load(path) == Loaded(HEADER, {0: FIRST}, {5 * GRID: LAST}, {})
