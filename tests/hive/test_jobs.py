"""The hive's jobs, with operations of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import BusyError, NotFoundError, RefusedError, WorkerError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.hive import operations as ops
from rbee_tui.hive.handlers import HANDLERS, Events
from rbee_tui.hive.jobs import Job, Jobs
from rbee_tui.hive.limits import Limits
from tests.hive.test_streams import collected

pytestmark = pytest.mark.anyio


@pytest.fixture
async def jobs(root: Root) -> AsyncIterator[Jobs]:
    """On an empty root, with room for four."""
    async with Engine(root, Hub("http://127.0.0.1:9", token="")) as engine:
        yield Jobs(engine, Limits(jobs=4, kept_bytes=1000))


def does(monkeypatch: pytest.MonkeyPatch, handler: Any, kind: type[ops.Operation] = ops.ModelList) -> None:
    """Let an operation do something else."""
    monkeypatch.setitem(HANDLERS, kind, handler)


async def goes_on(engine: Engine, _: Any) -> Events:
    """Tells that it has begun, and never ends."""
    yield "accepted", {}
    await asyncio.Event().wait()


def fails(error: Exception, at: int) -> Any:
    """Tells so many events, and fails."""

    async def handler(engine: Engine, _: Any) -> Events:
        for number in range(at):
            yield "count", number
        raise error

    return handler


async def ended(job: Job) -> list[str]:
    """All that the job's stream tells."""
    return await asyncio.wait_for(collected(job.stream), 20)


class TestEnds:
    """Each job has exactly one end."""

    async def test_done(self, jobs: Jobs):
        """A result, and the word."""
        assert await ended(await jobs.submit(ops.ModelList())) == ["[]", "[DONE]"]

    async def test_refused(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
        """What fails before its first event was never a job."""
        does(monkeypatch, fails(RefusedError("no"), 0))
        with pytest.raises(RefusedError):
            await jobs.submit(ops.ModelList())

    async def test_failed(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
        """The sentence, and the end of the log; what would drive a terminal or make a line is visible."""
        does(monkeypatch, fails(WorkerError("no\n\x1b[31m", log="tail"), 1))
        _, failed, word = await ended(await jobs.submit(ops.ModelList()))
        assert '"log":"tail"' in failed
        assert word == "[ERROR] no\\x0a\\x1b[31m"

    async def test_a_fault(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, root: Root):
        """Ends the job alone; its traceback is kept."""
        does(monkeypatch, fails(ZeroDivisionError("a fault"), 1))
        assert (await ended(await jobs.submit(ops.ModelList())))[-1].startswith(
            "[ERROR] something went wrong"
        )
        assert list(root.logs.glob("fault-*"))

    async def test_cancelled(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
        """Once; afterwards it has ended."""
        does(monkeypatch, goes_on)
        job = await jobs.submit(ops.ModelList())
        await jobs.cancel(job.id)
        assert (await ended(job))[-1] == "[CANCELLED]"
        with pytest.raises(RefusedError, match="has ended already"):
            await jobs.cancel(job.id)

    async def test_what_has_no_way_back(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
        """A removal goes on."""
        does(monkeypatch, goes_on, ops.ModelDelete)
        job = await jobs.submit(ops.ModelDelete(id="x"))
        with pytest.raises(RefusedError, match="model_delete cannot be taken back"):
            await jobs.cancel(job.id)
        assert job.task
        job.task.cancel()
        await asyncio.gather(job.task, return_exceptions=True)


class TestRoom:
    """Only so many jobs, and bytes of them, are kept."""

    async def test_the_oldest_ended_go_first(self, jobs: Jobs):
        """The newest can always be read."""
        made = [await jobs.submit(ops.ModelList()) for _ in range(6)]
        await ended(made[-1])
        assert await jobs.find(made[-1].id) is made[-1]
        with pytest.raises(NotFoundError):
            await jobs.find(made[0].id)

    async def test_large_ones_go_sooner(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
        """By what they keep."""

        async def large(engine: Engine, _: Any) -> Events:
            yield "text", "x" * 2000

        does(monkeypatch, large)
        first = await jobs.submit(ops.ModelList())
        await ended(first)
        second = await jobs.submit(ops.ModelList())
        await ended(second)
        await jobs.submit(ops.ModelList())
        with pytest.raises(NotFoundError):
            await jobs.find(first.id)
        assert await jobs.find(second.id) is second

    async def test_unfinished_ones_are_not_forgotten(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch):
        """Rather is another one refused."""
        does(monkeypatch, goes_on)
        made = [await jobs.submit(ops.ModelList()) for _ in range(4)]
        with pytest.raises(BusyError, match="4 jobs are unfinished"):
            await jobs.submit(ops.ModelList())
        for job in made:
            await jobs.cancel(job.id)


async def test_the_log_bounds_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Long texts are cut, a long file is set aside, a full disk costs lines and nothing else."""
    from rbee_tui.hive import log  # noqa: PLC0415 - one of its limits is changed here

    monkeypatch.setattr(log, "LONGEST_BYTES", 2000)
    kept = log.Log(tmp_path / "hive.log")
    for _ in range(9):
        kept.write("text", text="x" * 10_000)
    assert max(map(len, kept.path.read_bytes().splitlines())) < 4000
    assert (tmp_path / "hive.1.log").stat().st_size < 3000
    assert kept.path.stat().st_mode & 0o777 == 0o600
    log.Log(Path("/dev/full")).write("text")
    log.Log(tmp_path / "no" / "such").write("text")
