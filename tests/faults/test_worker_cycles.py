"""Workers started, asked and stopped again and again, and starters killed at any moment: nothing is left.

`--rounds N` makes N cycles and half as many kills; a few without it.
"""

import asyncio
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine import process
from rbee_tui.engine.paths import Root
from tests.engine.workers.support import (
    MODEL,
    House,
    add_fake,
    add_model,
    end_all,
    of_root,
    start_elsewhere,
    wait_for,
)

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(7200)]
SAY = "A real worker says this."
_CYCLES, _KILLS = 3, 4


@pytest.fixture
def house(root: Root, tmp_path: Path) -> Iterator[House]:
    """A root with the tiny model."""
    made = House(root)
    add_model(made, tiny.write(tmp_path / "tiny.gguf", SAY).path)
    yield made
    end_all(root)


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the same user that nobody may signal."""
    with subprocess.Popen(["sleep", "7200"], start_new_session=True) as other:
        yield other
        assert other.poll() is None, "a foreign process was signalled"
        other.kill()


def count(pytestconfig: pytest.Config, few: int, part: int = 1) -> int:
    rounds = pytestconfig.getoption("rounds")
    return max(1, rounds // part) if rounds else few


def nothing_is_left(house: House, port: int) -> None:
    """No process, no listener, and of files only what is kept for the next start."""
    assert of_root(house.root) == []
    if port:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    assert {path.suffix for path in house.root.running.iterdir()} <= {".key", ".port"}


class TestCycles:
    """Start, prompt, stop, on a real worker."""

    def test_nothing_is_left_after_each(self, house: House, bystander, pytestconfig: pytest.Config):
        """No orphan, no leaked port, file or folder; handles, threads and children of this process stay."""
        pytest.importorskip("xllamacpp", reason="needs xllamacpp")
        me = psutil.Process()
        before = me.children()

        async def cycle() -> int:
            started = await house.supervisor.start(MODEL)
            said = [chunk.text async for chunk in house.supervisor.prompt(MODEL, "anything", 16)]
            assert "".join(said).strip() == SAY
            await house.supervisor.stop(MODEL)
            return started.port

        ports = {asyncio.run(cycle())}
        held = me.num_fds()
        folders = sorted(str(path) for path in house.root.path.rglob("*"))
        for _ in range(count(pytestconfig, _CYCLES)):
            port = asyncio.run(cycle())
            ports.add(port)
            nothing_is_left(house, port)
        assert len(ports) == 1
        assert sorted(str(path) for path in house.root.path.rglob("*")) == folders
        assert me.num_fds() <= held + 1
        assert set(me.children()) <= {*before, psutil.Process(bystander.pid)}


class TestKills:
    """The process that starts a worker is killed by kill -9 at a random moment."""

    def test_what_it_began_is_found_and_ended(
        self, house: House, bystander, pytestconfig: pytest.Config, tmp_path: Path
    ):
        """Whoever looks next adopts it or clears it away, and stops it; no second one comes up beside it."""
        add_fake(house, tmp_path)
        chance = random.Random(7)
        for _ in range(count(pytestconfig, _KILLS, 2)):
            starter = start_elsewhere(house.root)
            begun, wait = time.monotonic(), chance.uniform(0.0, 1.6)
            wait_for(
                lambda begun=begun, wait=wait, starter=starter: (
                    time.monotonic() - begun > wait or starter.poll() is not None
                ),
            )
            starter.kill()
            starter.communicate()
            # What it had just forked may not have its record yet: its keeper is found by the cookie.
            wait_for(lambda: all(each.state == "ready" for each in house.supervisor.list()))
            again = asyncio.run(house.supervisor.start(MODEL))
            assert [each.pid for each in house.supervisor.list()] == [again.pid]
            keepers = [pid for pid in of_root(house.root) if os.getsid(pid) == pid]
            assert keepers == [again.pid]
            asyncio.run(house.supervisor.stop(MODEL))
            assert process.identify(again.pid) is None
            nothing_is_left(house, again.port)
