"""A power cut in the middle of a transfer: what the journal promises is on the disk, and little is lost.

The cut is ext4's own: an ioctl that drops what was not synced, on a file system in a file. Root only.
"""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.transfer import Limits
from rbee_tui.engine.transfer.hashing import block_digest
from rbee_tui.engine.transfer.journal import load
from tests.engine.transfer.server import Hub, Place, content, wait_until

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
METADATA_KEPT, ALL_LOST = 1, 2
SIZE = 48 << 20
RATE = 24 << 20
ROUNDS = 2
LIMITS = Limits(
    grid=1 << 20,
    piece=256 << 10,
    checkpoint_seconds=0.2,
    checkpoint_bytes=4 << 20,
    segment=8 << 20,
    connections_first=4,
    connections_least=4,
    connections_most=4,
    poll=0.02,
)
LOST = 1, 2
SIZE = 48 << 20
RATE = 24 << 20
ROUNDS = 2
LIMITS = Limits(
    grid=1 << 20,
    piece=256 << 10,
    checkpoint_seconds=0.2,
    checkpoint_bytes=4 << 20,
    segment=8 << 20,
    poll=0.02,
)
LOST = int((LIMITS.checkpoint_seconds + 0.5) * RATE) + (8 << 20)
"""The most that may be lost: what comes between two checkpoints, during a sync, and is on the way."""

CHILD = """
import os, sys, threading
from pathlib import Path
import msgspec
from rbee_tui.engine.transfer import Limits, Progress, Source, fetch, sink
if sys.argv[6] == "naive":
    sink.sync_data = lambda handle: None
source = msgspec.json.decode(sys.argv[1], type=Source)
limits = msgspec.json.decode(sys.argv[2], type=Limits)
part, target, lock = map(Path, sys.argv[3:6])
try:
    found = fetch(source, part=part, target=target, token=None, stop=threading.Event(), progress=Progress(),
        lock=lock, limits=limits)
    print(found.kept_bytes, flush=True)
finally:
    os._exit(0)
"""


class Disk:
    """A small ext4 in a file, whose power can be cut."""

    def __init__(self, directory: Path) -> None:
        self.image = directory / "disk.img"
        self.path = directory / "disk"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(160 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True, capture_output=True)

    def mount(self) -> bool:
        """Attach it; False where that is not allowed."""
        done = subprocess.run(
            ["mount", "-o", "loop", self.image, self.path], check=False, capture_output=True
        )
        return done.returncode == 0

    def cut(self, flag: int) -> None:
        """Cut its power."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, struct.pack("i", flag))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        """Detach it."""
        subprocess.run(["umount", self.path], check=False, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A mounted one."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4")
    found = Disk(tmp_path)
    if not found.mount():
        pytest.skip("needs the right to mount a loop device")
    yield found
    found.unmount()


def start(hub: Hub, place: Place, kind: str) -> subprocess.Popen[str]:
    """A process that fetches the file onto the disk; a naive one does not sync what its journal promises."""
    arguments = [msgspec.json.encode(hub.source()).decode(), msgspec.json.encode(LIMITS).decode()]
    paths = [str(place.part), str(place.target), str(place.directory / "tmp" / "lock")]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments, *paths, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def broken_promises(place: Place) -> int:
    """How many blocks that the journal calls synced are not what their digest says."""
    with place.part.open("rb") as file:
        blocks = load(place.journal).trusted.values()
        return sum(block_digest(file.fileno(), b.offset, b.length) != b.digest for b in blocks)


def cut_midway(disk: Disk, hub: Hub, kind: str, flag: int, dice: random.Random) -> tuple[Place, int]:
    """Fetch, cut the power at a random moment, mount again; the place, and what was sent by then."""
    place = Place(disk.path / "root").prepare()
    os.sync()
    before = hub.sent
    process = start(hub, place, kind)
    wanted = before + dice.randrange(LOST + (4 << 20), SIZE * 5 // 6)
    wait_until(lambda: hub.sent >= wanted or process.poll() is not None, 30)
    disk.cut(flag)
    sent = hub.sent
    process.communicate(timeout=30)
    disk.unmount()
    assert disk.mount()
    return place, sent - before


@pytest.mark.root
@pytest.mark.timeout(0)
class TestPowerCut:
    @pytest.mark.parametrize("flag", [METADATA_KEPT, ALL_LOST])
    def test_what_is_promised_is_there(self, disk: Disk, flag: int, request: pytest.FixtureRequest) -> None:
        """No trusted block is wrong, little more than one interval is lost, the file comes out right."""
        rounds = request.config.getoption("--rounds", default=None) or ROUNDS
        for seed in range(rounds):
            with Hub(content(seed, SIZE), rate=RATE // 4) as hub:
                place, sent = cut_midway(disk, hub, "careful", flag, random.Random(seed))
                assert broken_promises(place) == 0
                hub.rate = None
                out, _ = start(hub, place, "careful").communicate(timeout=60)
                kept = int(out)
                assert place.target.read_bytes() == hub.data
                assert sent - kept <= LOST
            shutil.rmtree(place.directory)

    def test_a_naive_journal_is_caught(self, disk: Disk) -> None:
        """The mutant: one that does not sync the data first promises blocks that are not there."""
        wrong = 0
        for seed in range(5):
            with Hub(content(seed, SIZE), rate=RATE // 4) as hub:
                place, _ = cut_midway(disk, hub, "naive", ALL_LOST, random.Random(seed))
                with suppress(FileNotFoundError):
                    wrong += broken_promises(place)
            shutil.rmtree(place.directory)
            if wrong:
                return
        pytest.fail("a journal that does not sync was not caught")
