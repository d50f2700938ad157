"""One file of a download, steered or failed alone; and what a failed or cancelled download leaves behind."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbee_tui.demo.hub import LARGE, DemoHub, DemoRepo, Fault
from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.errors import (
    HubError,
    IntegrityError,
    NetworkError,
    NoSpaceError,
    NotFoundError,
    RateLimitedError,
    RbeeError,
    RefusedError,
    error_of,
)
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.jobfiles import part_paths
from rbee_tui.engine.jobs import ActiveFile, FailedFile, Outcome, Record, progress_of, what_stays
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from rbee_tui.engine.steering import drop_file, finish_file, retry_file
from tests.engine import support_jobs
from tests.engine.support_jobs import HERE, a_file, a_record, a_run

until = partial(support_jobs.until, seconds=30)

pytestmark = pytest.mark.anyio
REPO = "acme/parts"
SLOW = 200_000
A, B, C = "model.safetensors", "extra.safetensors", "notes.txt"
FILES = {A: bytes(LARGE), B: bytes([1]) * 2 * LARGE, C: b"words"}


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """With a repository of two large files and a small one."""
    with DemoHub([DemoRepo(REPO, dict(FILES), tags=["safetensors"])]) as served:
        yield served


@pytest.fixture
async def here(root: Root, hub: DemoHub) -> AsyncIterator[ModelProvisioner]:
    """Whoever downloads from it."""
    async with ModelProvisioner(root, Hub(hub.url, token="")) as made:
        yield made


def states(here: ModelProvisioner, job: str) -> dict[str, str]:
    """What each file does."""
    return {file.path: file.state for file in here.get_progress(job).files}


def came(here: ModelProvisioner, job: str) -> dict[str, int]:
    """How much of each file is there."""
    return {file.path: file.downloaded for file in here.get_progress(job).files}


def refuse(hub: DemoHub, name: str, status: int = 404) -> list[str]:
    """Let the Hub refuse a file while its name is in the list that is returned."""
    refused = [name]
    hub.fault = lambda seen: Fault(status=status) if seen.path.endswith(tuple(refused)) else None
    return refused


class TestOneFails:
    """What is wrong with one file stops no other."""

    async def test_the_others_come_and_it_can_be_retried_alone(self, here: ModelProvisioner, hub: DemoHub):
        """The job has failed once there is nothing else to do; a retry of the file brings that file only."""
        refused = refuse(hub, B)
        job = await here.download_model(REPO)
        with pytest.raises(NotFoundError, match="there is no extra"):
            await here.run(job)
        assert states(here, job) == {A: "done", B: "failed", C: "done"}
        (failed,) = [file for file in here.get_progress(job).files if file.error]
        assert failed.path == B
        refused.clear()
        with pytest.raises(RefusedError, match="is done already"):
            await here.retry(job, A)
        before = hub.bytes_sent(f"{REPO}/{A}")
        await here.retry(job, B)
        done = await here.run(job)
        assert (done.state, [file.error for file in done.files]) == ("done", ["", "", ""])
        assert hub.bytes_sent(f"{REPO}/{A}") == before

    async def test_it_is_retried_while_the_others_come(self, here: ModelProvisioner, hub: DemoHub):
        """The job has not ended meanwhile."""
        refused = refuse(hub, B)
        hub.rate = SLOW / 20
        job = await here.download_model(REPO)
        await until(lambda: states(here, job)[B] == "failed")
        refused.clear()
        assert await here.retry(job, B) is not None
        hub.rate = None
        assert (await here.run(job)).state == "done"

    async def test_two_fail(self, here: ModelProvisioner, hub: DemoHub):
        """The job says the first error and how many more; a retry of the job is one of both."""
        refused = refuse(hub, B)
        refused.append(C)
        job = await here.download_model(REPO)
        with pytest.raises(NotFoundError, match=r"\(and 1 more of its files failed\)"):
            await here.run(job)
        refused.clear()
        await here.retry(job)
        assert (await here.run(job)).state == "done"

    async def test_what_concerns_all_stops_all(self, here: ModelProvisioner, hub: DemoHub):
        """A token that is refused once is not tried for each file."""
        hub.rate = SLOW
        refuse(hub, B, status=403)
        job = await here.download_model(REPO)
        with pytest.raises(RbeeError):
            await here.run(job)
        assert states(here, job)[B] == "failed"
        assert states(here, job)[A] == "stopped"


class TestOneIsCancelled:
    """The model does without it."""

    async def test_while_it_comes(self, here: ModelProvisioner, hub: DemoHub):
        """Its partial is gone, the others come, the model is whole without it."""
        hub.rate = SLOW
        job = await here.download_model(REPO)
        await until(lambda: came(here, job)[B])
        progress = await here.cancel(job, B)
        assert (states(here, job)[B], progress.total) == ("cancelled", LARGE + 5)
        assert [each.path for each in here.partials() if each.path == B] == []
        hub.rate = None
        done = await here.run(job)
        assert (done.state, done.downloaded, states(here, job)[B]) == ("done", LARGE + 5, "cancelled")
        entry = here.models.get(done.model_id)
        assert entry.health is Health.OK
        assert entry.artifact is not None
        assert entry.artifact.size_bytes == LARGE + 5
        assert not (Path(entry.directory) / B).exists()
        again = await here.download_model(REPO)
        assert (await here.run(again)).total == sum(map(len, FILES.values()))

    async def test_kept_and_wanted_again(self, here: ModelProvisioner, hub: DemoHub):
        """What came stays where one says so; a retry goes on from there."""
        hub.rate = SLOW
        job = await here.download_model(REPO)
        await until(
            lambda: {file.path: file.downloaded for file in here.get_progress(job).files}[B] > LARGE // 4
        )
        await here.cancel(job, B, keep=True)
        await until(lambda: [each.purgeable for each in here.partials() if each.path == B] == [True])
        await here.retry(job, B)
        hub.rate = None
        done = await here.run(job)
        assert {file.path: file.state for file in done.files} == {A: "done", B: "done", C: "done"}
        assert hub.bytes_sent(f"{REPO}/{B}") < 2 * len(FILES[B])

    async def test_the_last_one_that_is_missing(self, here: ModelProvisioner, hub: DemoHub):
        """Nobody runs the job, and without the file it is done."""
        refuse(hub, B)
        job = await here.download_model(REPO)
        with pytest.raises(NotFoundError):
            await here.run(job)
        assert (await here.cancel(job, B)).state == "done"

    @pytest.mark.parametrize(
        ("paths", "dropped"),
        [
            (["only.gguf"], "only.gguf"),
            (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], "m-00002-of-00002.gguf"),
            (["m-00001-of-00002.safetensors", "b.safetensors"], "m-00001-of-00002.safetensors"),
            (["m.gguf", "README.md"], "m.gguf"),
            (["README.md"], "README.md"),
        ],
    )
    def test_what_a_model_needs(self, paths: list[str], dropped: str):
        """A part of its weights, or all of them, is not cancelled alone."""
        record = a_record(files=[a_file(path) for path in paths])
        with pytest.raises(RefusedError, match="nothing without") as caught:
            drop_file(record, dropped, HERE)
        assert "rbee cancel 00000001" in caught.value.hint

    def test_what_may_go(self):
        """A projector, a second format; not of a repair, nor what is done or unknown."""
        record = a_record(files=[a_file("m.gguf"), a_file("mmproj.gguf")])
        assert drop_file(record, "mmproj.gguf", HERE).wanted_files == [0]
        with pytest.raises(RefusedError, match="repairs"):
            drop_file(a_record(files=record.files, repairs=True), "mmproj.gguf", HERE)
        with pytest.raises(RefusedError, match="updates"):
            drop_file(a_record(files=record.files, staged=True), "mmproj.gguf", HERE)
        with pytest.raises(RefusedError, match="done already"):
            drop_file(a_record(files=record.files, finished=[1]), "mmproj.gguf", HERE)
        with pytest.raises(NotFoundError, match="has no file"):
            drop_file(record, "other", HERE)
        with pytest.raises(RefusedError, match="has not failed"):
            retry_file(record, "m.gguf", HERE)

    def test_finishing_wins(self):
        """A file that was published while somebody cancelled it is the model's."""
        record = a_record(files=[a_file("m.gguf"), a_file("mmproj.gguf")])
        assert finish_file(drop_file(record, "mmproj.gguf", HERE), 1).wanted_files == [0, 1]


class TestAfterwards:
    """What a download leaves that failed or was cancelled."""

    async def test_nothing_of_what_never_began(self, here: ModelProvisioner, hub: DemoHub, root: Root):
        """No entry and no partial: only the job says what happened. A retry begins anew."""
        refused = refuse(hub, "")
        refused[:] = list(FILES)
        job = await here.download_model(REPO)
        with pytest.raises(NotFoundError):
            await here.run(job)
        assert here.models.list() == []
        assert list(root.part_directory().iterdir()) == []
        refused.clear()
        await here.retry(job)
        assert (await here.run(job)).state == "done"

    async def test_a_failed_one_is_cancelled_with_what_it_brought(self, here: ModelProvisioner, hub: DemoHub):
        """Until then its entry says why it failed, and what came is kept."""
        refuse(hub, B)
        job = await here.download_model(REPO)
        with pytest.raises(NotFoundError):
            await here.run(job)
        (entry,) = here.models.list()
        assert entry.artifact is not None
        assert "there is no extra" in str(entry.artifact.status)
        assert (await here.cancel(job)).state == "cancelled"
        assert here.models.list() == []

    async def test_a_cancel_spares_what_a_later_download_made(self, here: ModelProvisioner, hub: DemoHub):
        """The same id, finished by another job since, or wanted by one."""
        job = await here.download_model(REPO)
        done = await here.run(job)
        failed = Outcome(state="failed", at="")
        old = here.store.get(job)
        here.store.put(_as(old, "000000aa", outcome=failed, fresh_entry=True))
        await here.cancel("000000aa")
        assert here.models.get(done.model_id).health is Health.OK
        here.store.put(_as(old, "000000bb", outcome=None, finished=[], wanted="paused"))
        here.store.put(_as(old, "000000cc", outcome=failed, fresh_entry=False))
        (part, *_) = part_paths(old, here.root)
        part.write_bytes(b"what the other one has brought")
        await here.cancel("000000cc")
        assert part.exists()

    def test_files_of_a_job_that_nobody_runs(self):
        """None of them is being fetched, whatever its last runner noted."""
        run = a_run(active=[_active(0), _active(1)])
        files = [a_file("a"), a_file("b")]
        failed = a_record(files=files, failed_files=[FailedFile(index=0, error="it was so")])
        assert [f.state for f in progress_of(failed, run, "failed").files] == ["failed", "stopped"]
        assert [f.state for f in progress_of(a_record(files=files), run, "paused").files] == ["paused"] * 2
        halted = progress_of(a_record(files=files), run, "interrupted").files
        assert [(f.state, f.rate, f.connections, f.downloaded) for f in halted] == [
            ("interrupted", 0.0, 0, 40)
        ] * 2

    def test_what_is_said(self):
        """A repair keeps what it has, and says how it goes on."""
        repair = a_record(repairs=True, keep_partial=True)
        assert what_stays(progress_of(repair, None, "cancelled")).endswith("rbee models repair tiny goes on")
        kept, purged = a_record(keep_partial=True), a_record()
        said = [what_stays(progress_of(each, None, "cancelled")) for each in (kept, purged)]
        assert said == ["its partial files are kept", "what it brought is gone"]

    @pytest.mark.parametrize(
        "kind", [HubError, IntegrityError, NetworkError, NoSpaceError, RateLimitedError, RbeeError]
    )
    def test_errors_by_their_code(self, kind: type[RbeeError]):
        """As they were kept in a record."""
        found = error_of(kind.code, "it was so", "do this")
        assert (type(found), str(found), found.hint) == (kind, "it was so", "do this")
        assert type(error_of("newer", "it was so")) is RbeeError


def _active(index: int) -> ActiveFile:
    return ActiveFile(index, 40, 10, 5.0, "fetching", "", 3)


def _as(record: Record, job_id: str, **changes: Any) -> Record:
    return msgspec.structs.replace(record, id=job_id, failed_files=[], **changes)
