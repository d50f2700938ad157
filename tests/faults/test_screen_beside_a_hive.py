"""A screen that a hang-up ends in mid-download, beside a hive: the hive goes on, the next screen shows it.

`--rounds N` repeats it.
"""

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.e2e.support import Rbee, wait_for
from tests.e2e.terminal import RBEE, Pty, processes_of, surroundings
from tests.hive.support import HiveProcess, hive

BIG = random.Random(7).randbytes(3 << 20)
SLOW = 200 << 10
PATH = "acme/big/big.gguf"
SHOWN_WITHIN = 1.0
SLACK = 4.0
"""Seconds that a busy machine may take on top."""


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """A Hub with a file of 3 MiB."""
    with DemoHub([DemoRepo("acme/big", {"big.gguf": BIG})], rate=SLOW) as served:
        yield served


@pytest.fixture
def running(tmp_path: Path, hub: DemoHub) -> Iterator[HiveProcess]:
    """A hive on an empty root."""
    with hive(Rbee(tmp_path / "rbee", hub.url)) as process:
        yield process


def screen(running: HiveProcess, hub: DemoHub) -> Pty:
    return Pty(RBEE, surroundings(running.rbee.home, hub.url))


def strangers(running: HiveProcess) -> dict[int, str]:
    """The processes of the root but the hive."""
    return {p: words for p, words in processes_of(running.rbee.home).items() if p != running.process.pid}


def test_the_download_goes_on(running: HiveProcess, hub: DemoHub, request: pytest.FixtureRequest):
    """With the hive, from where it was; a new screen shows it at once; nothing is lost, nobody is left."""
    slowest = 0.0
    for _ in range(request.config.getoption("--rounds") or 1):
        hub.rate = SLOW
        sent = hub.bytes_sent(PATH)
        with screen(running, hub) as first:
            first.wait("a Add")
            first.press("a")
            first.wait("search words")
            first.press("acme/big", "enter")
            first.wait("Enter Download")
            first.press("enter")
            first.wait("Enter Download   Esc Back")
            first.press("enter")
            wait_for(lambda sent=sent: hub.bytes_sent(PATH) > sent)
            job = wait_for(lambda: next((j for j in running.jobs().values() if j.state == "running"), None))
            assert job.holder == first.process.pid
            first.hang_up()
            assert first.ended_at_a_cost()[0] == 129
        wait_for(lambda job=job: running.jobs()[job.id].holder == running.process.pid)
        assert strangers(running) == {}
        with screen(running, hub) as second:
            second.wait("a Add")
            began = time.monotonic()
            second.wait(" active")
            slowest = max(slowest, time.monotonic() - began)
            assert slowest < SHOWN_WITHIN + SLACK
            second.press("q")
            assert second.ended() == 0
        assert running.jobs()[job.id].holder == running.process.pid
        hub.rate = None
        assert running.events(job.id)[-1] == ("", "[DONE]")
        published = running.rbee.home / "models" / "big" / "big.gguf"
        assert hashlib.sha256(published.read_bytes()).digest() == hashlib.sha256(BIG).digest()
        assert hub.bytes_sent(PATH) - sent < 2 * len(BIG)
        assert strangers(running) == {}
        running.done("model_delete", id="big")
    print(f"a new screen showed the download {slowest:.2f} s after its first panes, at most")  # noqa: T201 - with -s
