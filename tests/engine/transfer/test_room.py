"""Room on the disk: taken before the first byte, with holes where need be, given back on refusal."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rbee_tui.engine.errors import NoSpaceError, StorageError
from rbee_tui.engine.transfer import blocks_path, room

SIZE = 3 << 20


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "x.part"


@pytest.fixture
def handle(part: Path) -> Iterator[int]:
    found = os.open(part, os.O_RDWR | os.O_CREAT)
    yield found
    os.close(found)


def answering(*numbers: int) -> Callable[[], Callable[..., int]]:
    """A fallocate(2) that fails with these errors in turn, and then succeeds as ftruncate does."""
    left = list(numbers)

    def call(handle: int, mode: int, offset: int, length: int) -> int:
        if left:
            ctypes.set_errno(left.pop(0))
            os.ftruncate(handle, length // 2)
            return -1
        os.ftruncate(handle, length)
        return 0

    return lambda: call


class TestReserving:
    """What is there after a reservation, and after one that failed."""

    def test_reserved(self, part: Path, handle: int) -> None:
        """The whole size is there, in blocks where the file system can; a second time changes nothing."""
        room.reserve(handle, part, SIZE)
        assert part.stat().st_size == SIZE
        before = part.stat().st_blocks
        room.reserve(handle, part, SIZE)
        assert part.stat().st_blocks == before

    def test_a_longer_file_is_cut(self, part: Path, handle: int) -> None:
        """What was longer becomes exactly as long as wanted."""
        part.write_bytes(b"x" * SIZE)
        room.reserve(handle, part, 1000)
        assert part.stat().st_size == 1000

    @pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
    def test_unsupported(self, part: Path, handle: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        """Where the file system cannot reserve, the file gets its size with holes."""
        monkeypatch.setattr(room, "_fallocate", answering(number))
        room.reserve(handle, part, SIZE)
        assert part.stat().st_size == SIZE

    def test_no_such_call(self, part: Path, handle: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the system has no such call at all, too."""
        monkeypatch.setattr(room, "_fallocate", lambda: None)
        room.reserve(handle, part, SIZE)
        assert part.stat().st_size == SIZE

    def test_interrupted(self, part: Path, handle: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signal in the middle is no failure."""
        monkeypatch.setattr(room, "_fallocate", answering(errno.EINTR, errno.EINTR))
        room.reserve(handle, part, SIZE)
        assert part.stat().st_size == SIZE

    @pytest.mark.parametrize(
        ("number", "error", "text"),
        [
            (errno.ENOSPC, NoSpaceError, r"no room in .*: 3\.1 MB more are needed, .* are free"),
            (errno.EDQUOT, NoSpaceError, r"no room in "),
            (errno.EIO, StorageError, r"cannot make room for .*: Input/output error"),
        ],
    )
    def test_what_was_grabbed_is_given_back(
        self,
        part: Path,
        handle: int,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        error: type[Exception],
        text: str,
    ) -> None:
        """A refused reservation leaves the file as it was."""
        monkeypatch.setattr(room, "_fallocate", answering(number))
        with pytest.raises(error, match=text):
            room.reserve(handle, part, SIZE)
        assert part.stat().st_size == 0

    def test_more_than_the_disk_has(self, part: Path, handle: int) -> None:
        """What cannot fit is refused by its figures, and nothing is tried."""
        with pytest.raises(NoSpaceError, match=r"1\.2 EB|1152921\.5 TB|1152\.9 PB"):
            room.reserve(handle, part, 1 << 60)
        assert part.stat().st_size == 0


class TestNames:
    """The file of block digests."""

    def test_beside_the_target(self) -> None:
        """Hidden, and within the longest name that a file system takes."""
        assert blocks_path(Path("/m/tiny/model.gguf")) == Path("/m/tiny/.model.gguf.blocks")
        long = blocks_path(Path("/m/tiny") / ("é" * 127))
        assert long.parent == Path("/m/tiny")
        assert len(long.name.encode()) <= 255
        assert long != blocks_path(Path("/m/tiny") / ("é" * 126 + "e"))
