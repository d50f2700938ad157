"""A file is wanted again at the very moment at which its job ends without it: the verb is heeded."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo, Fault
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobrunner import JobRunner
from rbee_tui.engine.jobs import FailedFile, Outcome, Record
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import this_machine
from rbee_tui.engine.provisioner import ModelProvisioner
from rbee_tui.engine.steering import drop_file, hold_file, resume_file, retry_file, settled
from tests.engine.support_jobs import HERE, a_file, a_record, until

pytestmark = pytest.mark.anyio
REPO = "acme/parts"
A, B = "model.safetensors", "extra.safetensors"


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """With a repository of two files, of which it refuses one while that is not wanted again."""
    repo = DemoRepo(REPO, {A: bytes(LARGE), B: bytes([1]) * LARGE}, tags=["safetensors"])
    with DemoHub([repo]) as served:
        yield served


@pytest.fixture
async def here(root: Root, hub: DemoHub) -> AsyncIterator[ModelProvisioner]:
    """Whoever downloads from it."""
    async with ModelProvisioner(root, Hub(hub.url, token="")) as made:
        yield made


def at(monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[], object], *, after: bool) -> None:
    """Act once, beside the first time that a runner takes this step: just before it, or just after."""
    real, left = getattr(JobRunner, step), [act]

    def stepped(self: JobRunner, *words: object, **named: object) -> object:
        if not after and left:
            left.pop()()
        try:
            return real(self, *words, **named)
        finally:
            if left:
                left.pop()()

    monkeypatch.setattr(JobRunner, step, stepped)


class TestWantedAtTheEnd:
    """The runner's look at the record is a moment old: what ends a job is decided under the records' lock."""

    @pytest.mark.parametrize(
        ("step", "after", "status"),
        [
            ("_settle", False, 404),
            ("_settle", True, 404),
            ("_end", False, 404),
            ("_mourn", True, 404),
            ("_fail", False, 403),
            ("_fail", True, 403),
        ],
    )
    async def test_a_retried_file_comes(
        self,
        here: ModelProvisioner,
        hub: DemoHub,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
        after: bool,
        status: int,
    ):
        """Whether its failure ends the job alone (403), or with the last of the others (404)."""
        refused = [B]
        hub.fault = lambda seen: Fault(status=status) if seen.path.endswith(tuple(refused)) else None

        def retry() -> None:
            refused.clear()
            here.store.change(job, "retry", lambda r: retry_file(r, B, this_machine()))

        at(monkeypatch, step, retry, after=after)
        job = await here.download_model(REPO)
        done = await here.run(job)
        assert [(file.path, file.state) for file in done.files] == [(B, "done"), (A, "done")]
        assert here.store.get(job).failed_files == []

    @pytest.mark.parametrize(("step", "after"), [("_settle", False), ("_end", False), ("_end", True)])
    async def test_a_resumed_file_comes(
        self,
        here: ModelProvisioner,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
        after: bool,
    ):
        """Nothing but a paused file was left: the job is not paused with it."""

        def resume() -> None:
            here.store.change(job, "resume", lambda r: resume_file(r, B, this_machine()))

        at(monkeypatch, step, resume, after=after)
        job = await here.download_model(REPO)
        here.store.change(job, "pause", lambda r: hold_file(r, B))
        assert (await here.run(job)).state == "done"

    async def test_a_cancelled_file_is_wanted_again(
        self, here: ModelProvisioner, monkeypatch: pytest.MonkeyPatch
    ):
        """The model without it was about to be called whole."""

        def retry() -> None:
            here.store.change(job, "retry", lambda r: retry_file(r, B, this_machine()))

        at(monkeypatch, "_complete", retry, after=False)
        job = await here.download_model(REPO)
        here.store.change(job, "cancel", lambda r: drop_file(r, B, this_machine()))
        done = await here.run(job)
        assert done.state == "done"
        assert (Path(here.models.get(done.model_id).directory) / B).read_bytes() == bytes([1]) * LARGE

    async def test_one_that_fails_again_ends_it(self, here: ModelProvisioner, hub: DemoHub):
        """Nobody wanted it once more."""
        hub.fault = lambda seen: Fault(status=404) if seen.path.endswith(B) else None
        job = await here.download_model(REPO)
        await until(lambda: here.get_progress(job).state == "failed", seconds=30)
        assert here.store.get(job).outcome is not None


class TestSettled:
    """What becomes of a job of which nothing moves."""

    def test_by_what_is_left(self):
        """Failed before paused; neither where a file is wanted or all that are wanted are there."""
        files = [a_file("m.gguf"), a_file("mmproj.gguf")]
        failed = FailedFile(index=1, error="it was so", hint="do this", code="hub")

        def settle(**changes: object) -> Record:
            return settled(a_record(files=files, **changes), "now")

        ended = settle(finished=[0], failed_files=[failed])
        assert ended.outcome == Outcome(
            state="failed", at="now", error="it was so", hint="do this", code="hub"
        )
        assert settle(held_files=[0], failed_files=[failed]).outcome == ended.outcome
        assert settle(finished=[0], held_files=[1]).wanted == "paused"
        for stays in (
            a_record(files=files, finished=[0]),
            a_record(files=files, failed_files=[failed]),
            a_record(files=files, finished=[0], dropped_files=[1]),
            a_record(files=files, finished=[0], held_files=[1], wanted="cancelled"),
            drop_file(ended, "mmproj.gguf", HERE),
        ):
            assert settled(stays, "now") == stays
