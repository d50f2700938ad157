"""A disk that is full, or fails: a sentence with the figures, and the old state stays good."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.errors import NoSpaceError, StorageError
from rbee_tui.engine.transfer import room, sink
from rbee_tui.engine.transfer.journal import Block, Header, Journal, load
from tests.engine.transfer.server import FAST, Hub, Place, content

DATA = content(1)
GRID = FAST.grid


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root and mount")
    path = tmp_path / "small"
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "rbee-test", path], check=False)
    if made.returncode != 0:
        pytest.skip("needs the right to mount")
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.mark.root
class TestFullDisk:
    """A file system that is too small."""

    def test_refused_before_the_first_byte(self, small: Path) -> None:
        """The figures are said, no byte is asked for, and the room that was grabbed is given back."""
        place = Place(small).prepare()
        with Hub(content(2, 5 << 20)) as hub:
            with pytest.raises(
                NoSpaceError, match=r"no room in .*: 5\.2 MB more are needed, 4\.2 MB are free"
            ):
                place.fetch(hub.source())
            assert not hub.requests
        assert place.part.stat().st_blocks == 0

    def test_the_room_that_is_there_is_enough(self, small: Path) -> None:
        """What fits is fetched."""
        place = Place(small).prepare()
        with Hub(content(2, 2 << 20)) as hub:
            place.fetch(hub.source())
        assert place.target.read_bytes() == content(2, 2 << 20)

    def test_full_midway(self, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where nothing could be reserved and the disk fills up: a sentence, and what arrived is kept."""

        def only_holes(handle: int, wanted: int) -> None:
            os.ftruncate(handle, wanted)

        monkeypatch.setattr(room, "_allocate", only_holes)
        place = Place(small).prepare()
        with Hub(content(2, 2 << 20), rate=4_000_000) as hub:
            first = GRID * 6

            def fill(x: object) -> None:
                hub.behaviour = None
                hub.rate = None
                x.head(200, Content_Length=2 << 20)  # type: ignore[attr-defined] - an Exchange
                x.body(hub.data[:first])  # type: ignore[attr-defined] - an Exchange
                hub.closing.wait(0.3)
                ballast = small / "ballast"
                with ballast.open("wb") as file:
                    free = os.statvfs(small)
                    file.write(b"\0" * (free.f_bavail * free.f_frsize - 400_000))
                x.body(hub.data[first:])  # type: ignore[attr-defined] - an Exchange

            from tests.engine.transfer.server import Behaviour  # noqa: PLC0415 - beside its use

            hub.behaviour = Behaviour(fill, times=1)
            with pytest.raises(NoSpaceError, match=r"cannot write .*: No space left on device"):
                place.fetch(hub.source())
            (small / "ballast").unlink()
            found = place.fetch(hub.source())
        assert found.kept_bytes >= first
        assert place.target.read_bytes() == content(2, 2 << 20)


class TestFailingDisk:
    """Calls that fail with EIO. A healthy disk cannot be made to: the call itself is replaced."""

    def test_writing(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that fails ends it with a sentence; the blocks before it are kept."""
        real = os.pwrite

        def failing(handle: int, data: memoryview, offset: int) -> int:
            if offset >= 2 * GRID:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(handle, data, offset)

        with Hub(DATA) as hub:
            with monkeypatch.context() as patch:
                patch.setattr(sink.os, "pwrite", failing)
                with pytest.raises(StorageError, match=r"cannot write .*: Input/output error"):
                    place.fetch(hub.source())
            found = place.fetch(hub.source())
        assert found.kept_bytes == 2 * GRID
        assert place.target.read_bytes() == DATA

    def test_short_writes(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that takes only a part of the bytes is gone on with."""
        real = os.pwrite
        monkeypatch.setattr(sink.os, "pwrite", lambda h, data, at: real(h, data[:1000], at))
        with Hub(DATA) as hub:
            place.fetch(hub.source())
        assert place.target.read_bytes() == DATA

    def test_reading_for_the_hash(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A block that cannot be read back ends it with a sentence; nothing is published."""

        def failing(handle: int, buffers: list[memoryview], offset: int) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "preadv", failing)
        with Hub(DATA) as hub, pytest.raises(StorageError, match=r"cannot read .*: Input/output error"):
            place.fetch(hub.source())
        assert not place.target.exists()

    def test_syncing(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sync that fails once is not tried again as if nothing had happened: no checkpoint, and an end."""

        def failing(handle: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        often = msgspec.structs.replace(FAST, checkpoint_seconds=0.0)
        with Hub(DATA, rate=600_000) as hub:
            real, calls = os.fdatasync, list[int]()

            def later(handle: int) -> None:
                calls.append(handle)
                (failing if len(calls) == 2 else real)(handle)

            monkeypatch.setattr(os, "fdatasync", later)
            with pytest.raises(StorageError, match=r"cannot sync .*: Input/output error"):
                place.fetch(hub.source(), limits=often)
        assert not load(place.journal).trusted
        assert not place.target.exists()

    def test_a_torn_journal_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line that could not be written wholly is taken back, so that the next one stands alone."""
        header = Header(endpoint="", repo="", commit="", path="", size=9 * GRID, oid="", grid=GRID)
        journal = Journal(tmp_path / "j", header, [], [])
        real, calls = os.write, list[bytes]()

        def torn(handle: int, data: bytes) -> int:
            calls.append(bytes(data))
            if len(calls) == 1:
                return real(handle, data[:20])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", torn)
            with pytest.raises(NoSpaceError):
                journal.append(Block(0, GRID, "1"))
        journal.append(Block(GRID, GRID, "2"))
        journal.close()
        assert load(tmp_path / "j").unproven == {GRID: Block(GRID, GRID, "2")}

    def test_no_file_handles_left(self, place: Place) -> None:
        """After a success and after a failure, as many descriptors are open as before."""
        with Hub(DATA) as hub:
            before = len(list(Path("/dev/fd").iterdir()))
            place.fetch(hub.source())
            with pytest.raises(StorageError):
                place.fetch(hub.source(path="b"), target=place.part / "x" / "y")
            assert len(list(Path("/dev/fd").iterdir())) <= before + 2


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty place for one file."""
    return Place(tmp_path / "root").prepare()
