"""How long a worker stays: started again after a crash, unloaded when idle, pinned, ended with its screen."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rbee_tui.engine import process, settings
from rbee_tui.engine.errors import NotFoundError, OutOfMemoryError
from rbee_tui.engine.workers import keeper
from tests.engine.workers.support import HERE, MODEL, House, get, of_root, wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper's seconds are hundredths here."""
    monkeypatch.setenv("RBEE_KEEPER_SCALE", "0.01")


def crash(url: str) -> None:
    with pytest.raises(ConnectionError):
        get(f"{url}/crash")


def runtime_of(pid: int) -> int:
    """The process that a keeper keeps; 0 between two of them."""
    children = psutil.Process(pid).children()
    return children[0].pid if children else 0


class TestRestart:
    """A crash is no end."""

    async def test_it_comes_again_at_the_same_port(self, fake: House):
        """Under the same keeper; it is told, and counted."""
        started = await fake.supervisor.start(MODEL)
        first = runtime_of(started.pid)
        crash(started.url)
        again = await _until(lambda: [e for e in fake.supervisor.list() if e.restarts and e.state == "ready"])
        assert (again[0].pid, again[0].url, again[0].restarts) == (started.pid, started.url, 1)
        assert runtime_of(started.pid) != first
        assert again[0].crash.startswith("it ended with exit code 3")
        assert fake.told() == ["worker.starting", "worker.ready", "worker.crashed"]
        assert [chunk.text for chunk in [c async for c in fake.supervisor.prompt(MODEL, "hello")]][:1] == [
            "one "
        ]

    async def test_a_start_waits_for_it(self, fake: House, monkeypatch):
        """Ready when it returns, also while it is down."""
        monkeypatch.setenv("RBEE_KEEPER_SCALE", "0.2")
        started = await fake.supervisor.start(MODEL)
        crash(started.url)
        await _until(lambda: [each for each in fake.supervisor.list() if each.state == "restarting"])
        again = await fake.supervisor.start(MODEL)
        assert (again.state, again.pid) == ("ready", started.pid)

    async def test_a_loop_ends_with_the_reason(self, fake: House, monkeypatch, tmp_path: Path):
        """Five times, each after a longer pause, and then it is said; nothing is left."""
        monkeypatch.setenv("FAKE_MODE", "again")
        monkeypatch.setenv("FAKE_CONTROL", str(tmp_path / "bad"))
        started = await fake.supervisor.start(MODEL)
        (tmp_path / "bad").touch()
        crash(started.url)
        await _until(lambda: not fake.supervisor.list())
        (death,) = fake.supervisor.deaths()
        assert (death.restarts, death.code, death.cause) == (keeper.MOST_RESTARTS, 4, "exit")
        with pytest.raises(NotFoundError, match="exit code 4, after it was started again 5 times"):
            fake.supervisor.get(MODEL)
        assert fake.told().count("worker.crashed") == keeper.MOST_RESTARTS
        assert of_root(fake.root) == []

    async def test_one_that_is_stopped_while_it_is_down_stays_down(self, fake: House, monkeypatch):
        """What is wanted is read before anything is started again."""
        monkeypatch.setenv("RBEE_KEEPER_SCALE", "1")
        started = await fake.supervisor.start(MODEL)
        crash(started.url)
        await _until(lambda: [each for each in fake.supervisor.list() if each.state == "restarting"])
        await fake.supervisor.stop(MODEL)
        assert of_root(fake.root) == []
        assert fake.supervisor.deaths() == []

    async def test_it_may_be_left_alone(self, fake: House):
        """By wish."""
        started = await fake.supervisor.start(MODEL, restart=False)
        crash(started.url)
        await _until(lambda: not fake.supervisor.list())
        assert [each.restarts for each in fake.supervisor.deaths()] == [0]

    async def test_a_new_start_forgets_the_death(self, fake: House):
        """And a person may."""
        for forget in (lambda: fake.supervisor.forget(MODEL), lambda: None):
            started = await fake.supervisor.start(MODEL, restart=False)
            assert fake.supervisor.deaths() == []
            crash(started.url)
            await _until(lambda: not fake.supervisor.list())
            assert len(fake.supervisor.deaths()) == 1
            forget()
        fake.supervisor.forget(MODEL)
        assert fake.supervisor.deaths() == []


class TestIdle:
    """Nobody asks it anything."""

    async def test_it_is_unloaded(self, fake: House):
        """Told, and no failure; the next question says why it is gone."""
        await fake.supervisor.start(MODEL, idle_seconds=1)
        await _until(lambda: not fake.supervisor.list())
        with pytest.raises(NotFoundError, match="it was unloaded: nobody asked it anything for 0:01"):
            fake.supervisor.get(MODEL)
        assert fake.told() == ["worker.starting", "worker.ready", "worker.unloaded"]
        assert of_root(fake.root) == []

    async def test_the_figures_are_the_worker_s_own(self, fake: House):
        """A question counts; looking does not, nor does a health check."""
        await fake.supervisor.start(MODEL)
        record = json.loads(fake.records.path(MODEL, "json").read_bytes())
        before = keeper.activity(record)
        fake.supervisor.list()
        assert keeper.activity(record) == before == (0, 0, 0)
        assert [chunk async for chunk in fake.supervisor.prompt(MODEL, "hello")]
        assert keeper.activity(record) == (1, 2, 0)
        assert keeper.activity(record | {"port": 1}) is None

    @pytest.mark.parametrize(
        ("figures", "idle"),
        [
            ([(1, 1, 0)] * 4, 3),
            ([(1, 1, 0), (1, 1, 0), (2, 1, 0), (2, 1, 0)], 1),
            ([(1, 1, 1)] * 4, 0),
            ([None] * 4, 3),
        ],
    )
    def test_what_counts_as_idle(self, monkeypatch, figures, idle):
        """Seconds since a token came or went; a request under way is never idle; else by its CPU."""
        clock = iter(range(100))
        looks = iter(figures)
        monkeypatch.setattr(keeper.time, "monotonic", lambda: next(clock))
        monkeypatch.setattr(keeper, "activity", lambda _: next(looks))
        monkeypatch.setattr(keeper, "cpu_seconds", lambda _: 1.0)
        found = keeper.Idleness()
        assert [found.seconds(1, {}) for _ in figures][-1] == idle

    def test_without_figures_work_is_told_by_the_processor(self, monkeypatch):
        """One that tells nothing and computes is not idle; a keeper that asks figures alone fails here."""
        clock, used = iter(range(100)), iter([1.0, 1.5, 2.0, 2.0, 2.0])
        monkeypatch.setattr(keeper.time, "monotonic", lambda: next(clock))
        monkeypatch.setattr(keeper, "activity", lambda _: None)
        monkeypatch.setattr(keeper, "cpu_seconds", lambda _: next(used))
        found = keeper.Idleness()
        assert [found.seconds(1, {}) for _ in range(5)] == [0, 0, 0, 1, 2]

    async def test_a_pin_keeps_it_and_its_end_does_not(self, fake: House):
        """Also while it runs."""
        await fake.supervisor.start(MODEL, idle_seconds=1, pinned=True)
        assert fake.supervisor.get(MODEL).pinned
        looks = wait_for(lambda: _looks(fake) > 70)
        assert looks
        assert fake.supervisor.list()
        assert not fake.supervisor.pin(MODEL, pinned=False).pinned
        await _until(lambda: not fake.supervisor.list())

    async def test_the_root_s_own_time_holds(self, fake: House):
        """For all that are started while it is settled; a wish goes before it."""
        settings.change(fake.root, idle_seconds=1)
        assert (await fake.supervisor.start(MODEL, idle_seconds=0)).idle_seconds == 0
        await fake.supervisor.stop(MODEL)
        assert (await fake.supervisor.start(MODEL)).idle_seconds == 1
        await _until(lambda: not fake.supervisor.list())


class TestScreen:
    """A worker that ends with the process that asked for it."""

    CODE = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from rbee_tui.engine.paths import Root\n"
        "from tests.engine.workers.support import House\n"
        "supervisor = House(Root(Path(sys.argv[1]))).supervisor\n"
        "print(asyncio.run(supervisor.start('tiny', ends_with_me=True)).pid, flush=True)\n"
        "sys.stdin.read()\n"
    )

    def screen(self, fake: House) -> "subprocess.Popen[str]":
        """A process that starts one, and lives until it is killed."""
        return subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(fake.root.path)],
            env={**os.environ, "PYTHONPATH": str(HERE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def test_it_ends_with_it_however_that_ends(self, fake: House):
        """Killed by kill -9: nobody is left to see to it but the keeper."""
        with self.screen(fake) as screen:
            pid = int(screen.stdout.readline())
            assert fake.supervisor.get(MODEL).ends_with_screen
            screen.kill()
        wait_for(lambda: process.identify(pid) is None)
        await _until(lambda: not fake.supervisor.list())
        assert [each.cause for each in fake.supervisor.deaths()] == ["screen"]
        assert of_root(fake.root) == []

    async def test_a_pinned_one_stays(self, fake: House):
        """Whatever becomes of the screen."""
        with self.screen(fake) as screen:
            pid = int(screen.stdout.readline())
            fake.supervisor.pin(MODEL)
            screen.kill()
        assert wait_for(lambda: _looks(fake) > 20)
        assert process.identify(pid)


class TestMemory:
    """A worker that finds no memory."""

    async def test_what_would_fit_is_offered(self, fake: House, monkeypatch):
        """The GPU was full: half the context, if that fits now."""
        monkeypatch.setenv("FAKE_MODE", "gpu")
        with pytest.raises(OutOfMemoryError, match="the GPU has not enough free memory") as failed:
            await fake.supervisor.start(MODEL, context=4096)
        assert failed.value.details["retry_context"] == 2048
        assert "rbee start tiny --context 2048" in failed.value.hint
        assert fake.supervisor.death(MODEL).retry_context == 2048


def _looks(fake: House) -> int:
    """How often the keeper could have looked since its runtime began."""
    (pid,) = {each.pid for each in fake.supervisor.list()}
    return int((time.time() - psutil.Process(pid).create_time()) / (keeper.LOOK_SECONDS * 0.01))


async def _until(condition):
    """The first true value of `condition`, while the loop runs on."""
    until = time.monotonic() + 30
    while not (value := await asyncio.to_thread(condition)):
        assert time.monotonic() < until, "it did not come to pass"
        await asyncio.sleep(0.01)
    return value
