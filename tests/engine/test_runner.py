"""The background runner: one for a root, found by those who leave jobs to it, gone when nothing is wanted."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rbee_tui.engine import runner
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import BusyError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobs import Outcome
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import this_machine
from tests.e2e.support import wait_for
from tests.engine.support_jobs import a_record

HERE = Path(__file__).parents[2]


@pytest.fixture
def engine(root: Root) -> Engine:
    """On an empty root, with a Hub that nobody answers for."""
    return Engine(root, Hub("http://127.0.0.1:9", token=""), verb=runner.VERB)


@contextmanager
def released_later(lock: Lock) -> Iterator[None]:
    """Give a lock back a moment after the block began."""
    timer = threading.Timer(0.1, lock.release)
    timer.start()
    yield
    timer.join()


class Watched(Lock):
    """The records' lock; when it is given back it notes whether the runner's could be had before."""

    free: list[bool]

    def release(self) -> None:
        """As the lock does."""
        if self.held:
            self.free.append(runner.runner_lock(Root(self.path.parents[2])).probe())
        super().release()


class TestLeaving:
    """An idle runner goes, and leaves no job alone."""

    @pytest.fixture
    def watched(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Whether the runner's lock was free each time the records' lock was given back."""
        noted: list[bool] = []

        def watched(verb: str) -> Lock:
            lock = Watched(engine.root.locks / "records.lock", verb)
            lock.free = noted
            return lock.acquire(5.0)

        monkeypatch.setattr(engine.provisioner.store, "records_lock", watched)
        return noted

    @pytest.mark.anyio
    async def test_its_lock_is_free_before_a_job_can_be_written(self, engine: Engine, watched: list[bool]):
        """So whoever writes one afterwards sees that there is no runner, and starts one."""
        await runner.run(engine, until_idle=True, stop=asyncio.Event(), say=print)
        assert watched == [True]

    @pytest.mark.anyio
    async def test_without_that_a_job_would_be_left_alone(
        self, engine: Engine, watched: list[bool], monkeypatch: pytest.MonkeyPatch
    ):
        """The mutant decides under the lock and goes after it: a runner that is going is seen as one."""
        left = runner._left
        monkeypatch.setattr(runner, "_left", lambda engine, *locks: left(engine))
        await runner.run(engine, until_idle=True, stop=asyncio.Event(), say=print)
        assert watched == [False]

    @pytest.mark.anyio
    async def test_one_that_waits_ends_when_asked(self, engine: Engine):
        """Without --until-idle it stays."""
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(
            runner.run(engine, until_idle=False, stop=stop, say=print, ready=ready.set)
        )
        await ready.wait()
        assert not runner.runner_lock(engine.root).probe()
        stop.set()
        await running
        assert runner.runner_lock(engine.root).probe()


class TestLooking:
    """Looking whether a runner is there disturbs nobody."""

    def test_it_leaves_the_holder_s_words(self, root: Root):
        """What the lock's file says is the last holder's, never that of one who only looked."""
        with runner.runner_lock(root):
            signed = runner.runner_lock(root).holder()
        assert Lock(runner.runner_lock(root).path, "look").probe()
        assert runner.runner_lock(root).holder() == signed

    @pytest.mark.anyio
    async def test_a_runner_starts_although_somebody_looks(self, engine: Engine):
        """Whoever looks holds the lock for a moment: the runner waits that moment."""
        looking = runner.runner_lock(engine.root).acquire()
        with released_later(looking):
            await runner.run(engine, until_idle=True, stop=asyncio.Event(), say=print)

    @pytest.mark.anyio
    async def test_a_second_is_refused(self, engine: Engine):
        """One takes up every job."""
        with (
            runner.runner_lock(engine.root),
            pytest.raises(BusyError, match="is at work on runner") as caught,
        ):
            await runner.run(engine, until_idle=True, stop=asyncio.Event(), say=print)
        assert "one background runner is enough" in caught.value.hint

    def test_a_job_that_it_will_take_up_is_queued(self, engine: Engine, root: Root):
        """It is interrupted only where nobody is there for it; neither has a holder."""
        store = engine.provisioner.store
        store.put(a_record("00000001", machine=this_machine()))
        store.put(a_record("00000002", machine=this_machine(), wanted="paused"))
        done = Outcome(state="done", at="2026-01-01T00:00:00Z")
        store.put(a_record("00000003", machine=this_machine(), outcome=done))
        assert [job.state for job in engine.provisioner.jobs()] == ["interrupted", "paused", "done"]
        with Lock(root.locks / "adopters.lock", "screen", shared=True):
            found = engine.provisioner.jobs()
            assert [job.state for job in found] == ["queued", "paused", "done"]
            assert [job.holder for job in found] == [None, None, None]


class TestStarting:
    """Those who hand jobs over start one, or find the one that runs."""

    def test_many_at_once_have_one(self, root: Root, monkeypatch: pytest.MonkeyPatch):
        """All name the same process, whoever started it."""
        monkeypatch.setenv("PYTHONPATH", str(HERE))
        # What keeps the runner there: a job whose Hub does not answer, so that it is tried again for a while.
        store = Engine(root, Hub("http://127.0.0.1:9", token="")).provisioner.store
        store.put(a_record("00000001", machine=this_machine(), endpoint="http://127.0.0.1:9"))
        code = "from rbee_tui.engine import runner, paths; "
        code += "print(runner.start_background(paths.Root.find()).pid)"
        words = [sys.executable, "-W", "ignore", "-c", code]
        each = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        said = {process.communicate(timeout=60)[0].strip() for process in each}
        assert len(said) == 1
        (pid,) = said
        assert pid not in {str(process.pid) for process in each}
        subprocess.run(["kill", pid], check=True)
        wait_for(runner.runner_lock(root).probe)
