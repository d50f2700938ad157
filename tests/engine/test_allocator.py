"""What the C library keeps for the threads of a process, told by its own count of arenas."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has arenas to share")

_MANY_THREADS = """
import ctypes, threading
from rbee_tui.engine import allocator
{first}
meeting = threading.Barrier(13)

def work():
    kept = [bytearray(4096) for _ in range(8)]
    meeting.wait()
    meeting.wait()

for _ in range(12):
    threading.Thread(target=work, daemon=True).start()
meeting.wait()
ctypes.CDLL(None).malloc_stats()
"""


_A_VERB = "import asyncio; from rbee_tui.cli import options; options.run(asyncio.sleep(0))"
_A_HIVE = "from rbee_tui.cli import guard; assert guard.run(['hive', '--no-listen', '--until-idle']) == 0"


def arenas(first: str, root: Path) -> int:
    """How many arenas twelve threads take in a process that begins so."""
    done = subprocess.run(
        [sys.executable, "-c", _MANY_THREADS.format(first=first)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "RBEE_HOME": str(root)},
    )
    return sum(line.startswith("Arena ") for line in done.stderr.splitlines())


class TestArenas:
    @pytest.mark.parametrize(
        "first", ["allocator.share_arenas()", "allocator.return_what_is_free()", _A_VERB, _A_HIVE]
    )
    def test_many_threads_share_two(self, first: str, tmp_path: Path):
        """However many download, or look at the disk."""
        assert arenas(first, tmp_path) <= 2

    def test_alone_each_thread_takes_one(self, tmp_path: Path):
        """The count above is not blind."""
        assert arenas("", tmp_path) > 2
