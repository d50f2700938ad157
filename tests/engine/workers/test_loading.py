"""How much of its model a worker has read: from what is mapped and in memory, of real processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.process import identify, this_machine
from rbee_tui.engine.workers import loading
from rbee_tui.engine.workers.record import Running

MIB = 1 << 20
WEIGHTS = 64 * MIB
READER = """
import mmap, sys
path, how = sys.argv[1:]
access = {"shared": mmap.MAP_SHARED, "private": mmap.MAP_PRIVATE}[how]
with open(path, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access, mmap.PROT_READ)
own = b"x" * (64 << 20)  # a cache, or weights in another order: nothing of the file
at = 0
print("ready", flush=True)
for line in sys.stdin:
    until = int(line)
    while at < until:
        mapped[at]
        at += 4096
    print("read", flush=True)
"""
KEEPER = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
MAPS = """55d0c0000000-55d0c0001000 r-xp 00000000 fd:00 1 /usr/bin/python3.11
7f0000000000-7f0000200000 r--s 00000000 fd:00 2 /models/my model.gguf
7f0000200000-7f0000400000 r--s 00200000 fd:00 2 /models/my model.gguf
7f0000400000-7f0000407000 r--s 00000000 fd:00 3 /usr/lib/gconv-modules.cache
7f0000500000-7f0000900000 r--p 00000000 fd:00 4 /site/libllama.so
7f0000900000-7f0000d00000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped")


class Reader:
    """A keeper and below it a process that maps a file and reads as much of it as it is told."""

    def __init__(self, keeper: "subprocess.Popen[str]", record: Running) -> None:
        self._keeper = keeper
        self.record = record

    def said(self) -> None:
        """Wait for its next word."""
        assert self._keeper.stdout
        assert self._keeper.stdout.readline()

    def read(self, size: int) -> float | None:
        """Have it read so many bytes in all; the share that is told then."""
        assert self._keeper.stdin
        self._keeper.stdin.write(f"{size}\n")
        self._keeper.stdin.flush()
        self.said()
        return loading.share(self.record)


@contextmanager
def reading(path: Path, how: str = "shared") -> Iterator[Reader]:
    """Such a process on 64 MiB."""
    with path.open("wb") as file:
        file.truncate(WEIGHTS)
    command = [sys.executable, "-c", KEEPER, READER, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        record = Running(
            model="m",
            worker="w",
            variant="cpu",
            runtime="xllamacpp",
            machine=this_machine(),
            who=identify(keeper.pid),
            cookie="cookie",
            model_path=str(path),
            key_file="",
            context=512,
            chat=False,
            reason="",
            weights=WEIGHTS,
            estimate=0,
            log="",
            started_at="",
        )
        found = Reader(keeper, record)
        found.said()
        yield found
        assert keeper.stdin
        keeper.stdin.close()


class TestShare:
    """Of a process that is there."""

    def test_it_grows_as_it_is_read(self, tmp_path: Path):
        """By what is read, and never back; the program's own files come on top."""
        with reading(tmp_path / "a model.gguf") as reader:
            own = loading.share(reader.record)
            assert own is not None
            assert own < 0.4
            for quarters in (1, 2):
                found = reader.read(quarters * WEIGHTS // 4)
                assert found is not None
                assert found - own == pytest.approx(quarters / 4, abs=0.05)
            assert reader.read(WEIGHTS) == 1

    def test_what_is_not_mapped_tells_nothing(self, tmp_path: Path):
        """A copy of one's own, or one on a GPU, may come from anywhere."""
        with reading(tmp_path / "m.gguf", "private") as reader:
            assert reader.read(WEIGHTS // 2) is None

    def test_only_while_it_loads(self, tmp_path: Path):
        """A ready one, one without a process, one of an earlier version, and one that is gone."""
        with reading(tmp_path / "m.gguf") as reader:
            record = reader.record
            assert loading.share(record) is not None
            for changes in ({"ready_at": "now"}, {"who": None}, {"weights": 0}):
                assert loading.share(msgspec.structs.replace(record, **changes)) is None
        assert loading.share(record) is None


class TestMapped:
    """What the system says of a process."""

    def test_the_model_alone(self):
        """In however many parts; no library, no locale, nothing that is written."""
        assert loading.mapped_in(MAPS) == {"/models/my model.gguf": 4 * MIB}

    @pytest.mark.parametrize(
        ("mapped", "resident", "share"),
        [
            ({}, 900, None),
            ({"a": 1000}, 0, 0),
            ({"a": 1000}, 500, 0.25),
            ({"a": 1000, "b": 1000}, 1500, 0.75),
            ({"a": 1000, "b": 1000}, 2100, 1),
            ({"a": 700}, 700, 1),
            ({"a": 1000, "b": 900}, 100, 1),
        ],
    )
    def test_shards_and_what_is_let_go(self, mapped: dict[str, int], resident: int, share: float | None):
        """Shards are mapped one after the other; a part is let go only once all is read."""
        assert loading.share_of(mapped, {"a": 1000, "b": 1000}, resident, 2000) == share
