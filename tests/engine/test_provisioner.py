"""Downloads as jobs: run, joined, steered and taken over, against a Hub on loopback."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo, Fault
from rbee_tui.engine import errors, jobrunner, jobs, sharing, transfer
from rbee_tui.engine.errors import (
    CancelledJobError,
    NotFoundError,
    PausedError,
    RbeeError,
    RefusedError,
    UsageError,
)
from rbee_tui.engine.jobfiles import part_paths
from rbee_tui.engine.jobs import JobProgress, Outcome, Record
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner, raise_for
from rbee_tui.engine.transfer import journal_path
from tests.engine.support_jobs import a_record, a_run, until

pytestmark = pytest.mark.anyio
REPO = "acme/tiny"
SLOW = 200_000
HERE = Path(__file__).parents[2]
ELSEWHERE = """
import asyncio, sys
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from tests.engine.support_jobs import until
async def main():
    async with ModelProvisioner(Root.find(), Hub(sys.argv[1], token=""), verb="another process") as other:
        await other.run(await other.download_model("acme/tiny"))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def model() -> bytes:
    """A tiny model's file."""
    return tiny.build("A download brings this.")


@pytest.fixture
def hub(model: bytes) -> Iterator[DemoHub]:
    """With the tiny model, and one whose file takes a while at the rate SLOW."""
    repos = [DemoRepo(REPO, {"tiny.gguf": model}), DemoRepo("acme/big", {"big.gguf": bytes(20 * LARGE)})]
    with DemoHub(repos) as served:
        yield served


class TestDownload:
    """From a repository's name to a model that is whole."""

    async def test_it_is_there_and_verified(self, make, model: bytes):
        """With its job done, and nothing running."""
        async with make() as here:
            job = await here.download_model(REPO)
            progress = await here.run(job)
            assert (progress.state, progress.downloaded, progress.total) == ("done", len(model), len(model))
            assert here.active == []
            entry = here.models.get(progress.model_id)
            assert (Path(entry.directory) / "tiny.gguf").read_bytes() == model

    async def test_an_arriving_file_is_named_by_its_job_alone(self, make, root: Root):
        """So that counting the room for a queue reads no catalogue: it is the same where there is none."""
        async with make() as here:
            job = await here.download_model(REPO)
            await here.run(job)
            before = part_paths(here.store.get(job), root)
            (root.models / "tiny").rename(root.models / "elsewhere")
            assert part_paths(here.store.get(job), root) == before

    async def test_what_a_killed_writer_left_is_cleared_away(self, make, root: Root):
        """Of the journal, the digests and the records; what is another file's stays."""
        async with make() as here:
            job = await here.download_model(REPO)
            await here.run(job)
            (part,) = part_paths(here.store.get(job), root)
            (root.models / "tiny" / "tiny.gguf").unlink()
            journal = root.tmp / f".{part.name}.journal.0123456789ab.tmp"
            digests = root.models / "tiny" / "..tiny.gguf.blocks.0123456789ab.tmp"
            record = root.jobs / f".{job}.json.0123456789ab.tmp"
            other = root.tmp / ".other.part.journal.0123456789ab.tmp"
            for path in (journal, digests, record, other):
                path.touch()
            await here.run(await here.download_model(REPO))
            assert [path.exists() for path in (journal, digests, record, other)] == [False] * 3 + [True]

    async def test_a_journal_does_not_outlive_its_file(self, make, root: Root, model: bytes):
        """It was killed in the moment between publishing the file and removing the journal."""
        async with make() as here:
            job = await here.download_model(REPO)
            (part,) = part_paths(here.store.get(job), root)
            (root.models / "tiny").mkdir(exist_ok=True)
            (root.models / "tiny" / "tiny.gguf").write_bytes(model)
            journal_path(part).touch()
            assert (await here.run(job)).state == "done"
            assert not journal_path(part).exists()

    async def test_what_is_here_is_not_brought_again(self, make, hub: DemoHub):
        """Another job, done at once, without a byte."""
        async with make() as here:
            first = await here.download_model(REPO)
            await here.run(first)
            sent = hub.bytes_sent(f"{REPO}/tiny.gguf")
            again = await here.download_model(REPO)
            assert again != first
            assert here.get_progress(again).state == "done"
            assert hub.bytes_sent(f"{REPO}/tiny.gguf") == sent

    async def test_the_same_request_joins_its_job(self, make, hub: DemoHub):
        """Also from another process, which follows it to its end."""
        hub.rate = SLOW
        async with make() as here, make() as other:
            job = await here.download_model("acme/big")
            assert await other.download_model("acme/big") == job
            hub.rate = None
            both = await asyncio.gather(here.run(job), other.run(job))
            assert [progress.state for progress in both] == ["done", "done"]
        assert hub.bytes_sent("acme/big/big.gguf") == 20 * LARGE

    async def test_without_settings_it_is_the_user_s_own(self, monkeypatch, tmp_path: Path):
        """Root and Hub come from the environment."""
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        here = ModelProvisioner()
        assert (here.root.path, here.hub.endpoint) == (tmp_path / "rbee", "http://127.0.0.1:9")

    async def test_leaving_keeps_what_is_wanted(self, make, hub: DemoHub):
        """Whoever comes next takes it up, where it was left."""
        hub.rate = SLOW
        async with make() as here:
            job = await here.download_model("acme/big")
            await until(lambda: here.get_progress(job).downloaded)
        async with make() as other:
            assert other.get_progress(job).state == "interrupted"
            hub.rate = None
            assert other.adopt() == [job]
            assert other.adopt() == [], "it has it already"
            assert (await other.run(job)).state == "done"

    async def test_a_failure_is_the_job_s_and_can_be_retried(self, make, hub: DemoHub):
        """Its error is the one that the transfer raised."""
        refused = [Fault(status=403)]
        hub.fault = lambda seen: refused[0] if refused and seen.path.endswith(".gguf") else None
        async with make() as here:
            job = await here.download_model("acme/big")
            with pytest.raises(RbeeError) as caught:
                await here.run(job)
            progress = here.get_progress(job)
            assert (progress.state, progress.code, progress.error) == (
                "failed",
                type(caught.value).code,
                str(caught.value),
            )
            refused.clear()
            assert await here.retry(job) is None
            assert (await here.run(job)).state == "done"
            with pytest.raises(RefusedError, match="only a failed one can be retried"):
                await here.retry(job)


class TestSteer:
    """By whoever may, whoever runs it."""

    @pytest.fixture
    def slow(self, hub: DemoHub) -> DemoHub:
        """A Hub that leaves time to steer."""
        hub.rate = SLOW
        return hub

    async def test_pause_and_resume(self, make, slow: DemoHub):
        """A pause that has returned is one; it goes on where it was."""
        async with make() as here:
            job = await here.download_model("acme/big")
            await until(lambda: here.get_progress(job).downloaded)
            assert (await here.pause(job)).state == "paused"
            with pytest.raises(PausedError, match="is paused at"):
                await here.run(job)
            slow.rate = None
            await here.resume(job)
            assert (await here.run(job)).state == "done"
            with pytest.raises(RefusedError, match="is done already"):
                await here.pause(job)
            with pytest.raises(RefusedError, match="is done already"):
                await here.resume(job)

    async def test_resume_names_who_took_it_up(self, make, slow: DemoHub):
        """One that runs is not held up."""
        async with make() as here:
            job = await here.download_model("acme/big")
            await until(lambda: here.store.holder(job))
            holder = await here.resume(job)
            assert holder
            assert holder.who.pid == os.getpid()
            await here.cancel(job)

    async def test_cancel_takes_away_what_it_brought(self, make, slow: DemoHub):
        """While it runs, and when nobody runs it; a second time too."""
        async with make() as here:
            job = await here.download_model("acme/big")
            await until(lambda: here.get_progress(job).downloaded)
            assert (await here.cancel(job)).state == "cancelled"
            assert (await here.cancel(job)).state == "cancelled"
            with pytest.raises(CancelledJobError, match="was cancelled"):
                await here.run(job)
            assert here.models.list() == []
            assert list(here.root.part_directory().iterdir()) == []
        here.store.put(a_record("00000009", machine=_machine()))
        assert (await here.cancel("00000009")).state == "cancelled"

    async def test_a_cancel_may_keep_what_has_arrived(self, make, slow: DemoHub):
        """It is listed with its room, taken up by the next download, or purged."""
        async with make() as here:
            job = await here.download_model("acme/big")
            await until(lambda: here.get_progress(job).downloaded)
            (running,) = here.partials()
            assert (running.job_id, running.purgeable, running.size_bytes) == (job, False, 20 * LARGE)
            with pytest.raises(RefusedError, match=f"job {job} wants"):
                here.purge([running.name])
            assert here.purge().names == []
            assert (await here.cancel(job, keep=True)).state == "cancelled"
            (kept,) = here.partials()
            assert (kept.job_id, kept.purgeable, kept.path) == (None, True, "big.gguf")
            assert kept.held_bytes >= kept.kept_bytes > 0
            slow.rate = None
            again = await here.download_model("acme/big")
            assert (await here.run(again)).kept > 0
            assert here.partials() == []

    async def test_purging(self, make, slow: DemoHub):
        """The room is free again; a name that there is not is an error."""
        async with make() as here:
            job = await here.download_model("acme/big")
            await until(lambda: here.get_progress(job).downloaded)
            await here.cancel(job, keep=True)
            (kept,) = here.partials()
            with pytest.raises(NotFoundError, match="there is no partial file"):
                here.purge(["../models"])
            purged = here.purge()
            assert (purged.names, purged.freed_bytes) == ([kept.name], kept.held_bytes)
            assert list(here.root.part_directory().iterdir()) == []

    async def test_a_cap_while_it_runs(self, make, slow: DemoHub):
        """It is the root's: set by one, heeded by another within a second, lifted again."""
        slow.rate = None
        async with make() as here, make() as other:
            other.set_cap(100_000)
            assert here.cap() == 100_000
            job = await here.download_model("acme/big")
            await until(lambda: here.get_progress(job).connections)
            assert here._traffic.throttle.rate == 100_000
            other.set_cap(None)
            assert (await here.run(job)).state == "done"
            with pytest.raises(UsageError, match="would never end"):
                other.set_cap(1)

    async def test_the_order_of_the_queue(self, make, slow: DemoHub, monkeypatch: pytest.MonkeyPatch):
        """One that is moved to the top takes the turn of one that runs, which goes on afterwards."""
        slow.repos["acme/two"] = DemoRepo("acme/two", {"two.gguf": bytes(20 * LARGE)})
        monkeypatch.setattr(sharing, "admit", lambda held: jobs.admit(held, 1))
        async with make() as here:
            first = await here.download_model("acme/big")
            await until(lambda: here.get_progress(first).downloaded)
            second = await here.download_model("acme/two")
            await until(lambda: here.get_progress(second).state == "queued")
            assert "before it" in here.get_progress(second).waiting_for
            assert here.move(second, "top").id == second
            await until(lambda: here.get_progress(second).state == "running")
            await until(lambda: here.get_progress(first).state == "queued")
            slow.rate = None
            assert (await here.run(first)).state == "done"
            assert (await here.run(second)).state == "done"
            with pytest.raises(RefusedError, match="is done already"):
                here.move(first, "up")

    @pytest.mark.parametrize(
        ("room_from", "large", "most"),
        [
            pytest.param(0, 100_000, jobs.FILES_AT_ONCE, id="room"),
            pytest.param(99, 100_000, jobs.FEW_FILES, id="no room"),
            pytest.param(jobs.FEW_FILES, 100_000, jobs.FILES_AT_ONCE, id="room later"),
            pytest.param(99, 100_001, jobs.FILES_AT_ONCE, id="small files"),
        ],
    )
    async def test_few_large_files_at_once(
        self, make, slow: DemoHub, monkeypatch: pytest.MonkeyPatch, room_from: int, large: int, most: int
    ):
        """Until the processor is known to have room: it is known to once `room_from` are under way."""
        files = {f"model-{n}.safetensors": bytes([n]) * 100_000 for n in range(6)}
        slow.repos["acme/six"] = DemoRepo("acme/six", files, tags=["safetensors"])
        fetch, lock, under_way, seen = transfer.fetch, threading.Lock(), set[str](), [0]
        before_an_end = list[int]()

        def counted(source: transfer.Source, **options: Any) -> transfer.Fetched:
            with lock:
                under_way.add(source.path)
                seen.append(len(under_way))
            try:
                return fetch(source, **options)
            finally:
                with lock:
                    before_an_end.append(max(seen))
                    under_way.discard(source.path)

        monkeypatch.setattr(transfer, "fetch", counted)
        monkeypatch.setattr(transfer.Traffic, "roomy", property(lambda _: max(seen) >= room_from))
        monkeypatch.setattr(jobrunner, "LARGE_BYTES", large)
        async with make() as here:
            assert (await here.run(await here.download_model("acme/six"))).state == "done"
        assert (len(seen) - 1, before_an_end[0], max(seen)) == (len(files), most, most)

    async def test_one_file_is_paused_alone(self, make, slow: DemoHub):
        """The others go on; when only it is left, the job is paused; wanted again, it comes."""
        slow.repos["acme/two"] = DemoRepo(
            "acme/two",
            {"a.safetensors": bytes(LARGE), "b.safetensors": bytes(2 * LARGE), "config.json": b"{}"},
            tags=["safetensors"],
        )
        async with make() as here:
            job = await here.download_model("acme/two")
            await here.pause(job, "b.safetensors")
            with pytest.raises(NotFoundError, match="has no file"):
                await here.pause(job, "c")
            slow.rate = None
            with pytest.raises(PausedError):
                await here.run(job)
            states = {file.path: file.state for file in here.get_progress(job).files}
            assert states == {"a.safetensors": "done", "b.safetensors": "paused", "config.json": "done"}
            with pytest.raises(RefusedError, match="is done already"):
                await here.pause(job, "a.safetensors")
            await here.resume(job, "b.safetensors")
            assert (await here.run(job)).state == "done"

    async def test_a_gentle_one(self, make, slow: DemoHub):
        """It is a property of the job, and shown."""
        slow.rate = None
        async with make() as here:
            job = await here.download_model("acme/big", gentle=True)
            assert (await here.run(job)).gentle

    async def test_what_is_no_job(self, make):
        """Neither is it steered."""
        async with make() as here:
            for verb in (here.pause, here.resume, here.retry, here.cancel, here.take, here.run):
                with pytest.raises(NotFoundError, match="there is no job"):
                    await verb("gone")


def _machine():
    from rbee_tui.engine.process import this_machine  # noqa: PLC0415 - the records of two tests need it

    return this_machine()


class TestTakeOver:
    """A job whose process does not answer, or is of another machine."""

    @pytest.fixture
    def other(self, hub: DemoHub, root: Root) -> Iterator["subprocess.Popen[bytes]"]:
        """Another process that downloads for a long while."""
        hub.rate = 10_000
        hub.repos[REPO].files["tiny.gguf"] = bytes(LARGE * 10)
        environment = {**os.environ, "PYTHONPATH": str(HERE), "RBEE_HOME": str(root.path)}
        with subprocess.Popen([sys.executable, "-c", ELSEWHERE, hub.url], env=environment) as started:
            yield started
            started.kill()

    async def test_the_other_process_is_ended(self, make, other, hub: DemoHub):
        """Then the job can be had; taken again, there is nobody to end."""
        async with make() as here:
            await until(lambda: (jobs := here.jobs()) and jobs[0].downloaded)
            (job,) = here.jobs()
            await here.take(job.id)
            assert await asyncio.to_thread(other.wait, 20)
            await here.take(job.id)
            hub.rate = None
            assert here.adopt() == [job.id]
            assert (await here.run(job.id)).state == "done"

    async def test_one_s_own_job_is_not_taken(self, make, hub: DemoHub):
        """It would be this process's end."""
        hub.rate = SLOW
        async with make() as here:
            job = await here.download_model("acme/big")
            await until(lambda: here.store.holder(job))
            with pytest.raises(RefusedError, match="is run by this process itself"):
                await here.take(job)
            await here.cancel(job)

    async def test_another_machine_s_job_waits_for_a_word(self, make):
        """Its process cannot be seen from here: it may live."""
        async with make() as here:
            here.store.put(a_record("00000001"))
            with pytest.raises(RefusedError, match="belongs to another machine") as caught:
                await here.run("00000001")
            assert "rbee resume 00000001" in caught.value.hint
            assert here.adopt() == []

    async def test_a_job_that_kills_its_runners_is_given_up(self, make):
        """Three ended without a new byte; one that advanced is taken up again."""
        async with make() as here:
            here.store.put(a_record("00000001", machine=_machine(), adoptions=3, reached=400))
            here.store.write_run("00000001", a_run(downloaded=400))
            with pytest.raises(RbeeError, match="3 runs of it ended without a new byte") as caught:
                await here.run("00000001")
            assert "rbee retry 00000001" in caught.value.hint
            advanced = a_record("00000002", machine=_machine(), adoptions=3, reached=300)
            here.store.put(advanced)
            here.store.write_run("00000002", a_run(downloaded=400))
            assert here._may_run(advanced)
            assert here.store.get("00000002").adoptions == 0


class TestRoom:
    """What is promised to others is not free."""

    async def test_what_unfinished_jobs_will_still_take(self, make):
        """Those that are wanted; what they have is not counted twice."""
        async with make() as here:
            records: list[Record] = [
                a_record("00000001"),
                a_record("00000002", wanted="paused"),
                a_record("00000003", outcome=Outcome(state="done", at="")),
                a_record("00000004", finished=[0]),
            ]
            assert here._promised(records) == 1000

    async def test_an_id_that_is_another_s(self, make):
        """A model of that name came from elsewhere."""
        async with make() as here:
            await here.run(await here.download_model(REPO, id="mine"))
            with pytest.raises(RefusedError):
                await here.download_model("acme/big", id="mine")
            with pytest.raises(NotFoundError):
                await here.download_model("acme/big", "no-such-file.gguf")


class TestEnding:
    """How a job's end is told by raising."""

    @pytest.mark.parametrize("kind", [errors.NoSpaceError, errors.NetworkError, errors.RefusedError])
    async def test_a_failure_by_its_kind(self, make, kind):
        """As it was when it happened, in whichever process."""
        async with make() as here:
            outcome = Outcome(state="failed", at="", error="it was so", hint="do this", code=kind.code)
            here.store.put(a_record(outcome=outcome))
            with pytest.raises(kind, match=r"^it was so$") as caught:
                raise_for(here.get_progress("00000001"))
            assert (type(caught.value), caught.value.hint) == (kind, "do this")

    async def test_a_kind_that_is_not_known(self, make):
        """Written by a newer rbee."""
        async with make() as here:
            here.store.put(a_record(outcome=Outcome(state="failed", at="", error="it was so", code="newer")))
            progress: JobProgress = here.get_progress("00000001")
            with pytest.raises(RbeeError, match=r"^it was so$") as caught:
                raise_for(progress)
            assert type(caught.value) is RbeeError
            assert caught.value.hint == "rbee retry 00000001"
            queued = msgspec.structs.replace(progress, state="queued")
            assert raise_for(queued) is queued
