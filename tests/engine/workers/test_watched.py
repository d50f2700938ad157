"""A worker's state is on the board while it loads, runs and ends, whoever started it."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from rbee_tui.engine import watch
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from tests.engine.support_watch import watched
from tests.engine.workers.support import MODEL, House

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine(fake: House, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Another process's engine, as far as the tests can tell: it has not started the worker."""
    monkeypatch.setattr(watch, "SCAN_SECONDS", 3600.0)
    return Engine(fake.root, Hub("http://127.0.0.1:9", token=""))


async def test_from_loading_to_ready_to_gone(engine: Engine, fake: House, monkeypatch, tmp_path: Path):
    """Each state, with port and memory as they become known."""
    control = tmp_path / "loaded"
    monkeypatch.setenv("FAKE_MODE", "slow")
    monkeypatch.setenv("FAKE_CONTROL", str(control))
    async with watched(engine) as board:

        def state() -> str | None:
            return next((each.state for each in board.latest["running"]), None)

        starting = asyncio.create_task(fake.supervisor.start(MODEL))
        await board.until(lambda: state() == "loading")
        if sys.platform == "linux":
            await board.until(lambda: board.latest["running"][0].load_share is not None)
        control.touch()
        ready = await starting
        await board.until(lambda: state() == "ready")
        (shown,) = board.latest["running"]
        assert (shown.port, shown.pid, shown.load_share) == (ready.port, ready.pid, None)
        await fake.supervisor.stop(MODEL)
        await board.until(lambda: state() is None)
        await board.until(lambda: "worker.stopped" in [fact.kind for fact in board.facts])
        kinds = [fact.kind for fact in board.facts if fact.kind.startswith("worker.")]
        assert kinds == ["worker.starting", "worker.ready", "worker.stopped"]


async def test_a_worker_that_dies_is_missed(engine: Engine, fake: House):
    """Though nobody tells: what runs is looked at every other second."""
    running = await fake.supervisor.start(MODEL, restart=False)
    async with watched(engine) as board:
        assert [each.model for each in board.latest["running"]] == [MODEL]
        for child in psutil.Process(running.pid).children():
            child.kill()
        await board.until(lambda: not board.latest["running"])
        await board.until(lambda: [each.signal for each in board.latest.get("deaths", [])] == ["SIGKILL"])
        await board.until(lambda: "worker.failed" in [fact.kind for fact in board.facts])
