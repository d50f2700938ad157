"""An update of several files: the old ones stay whole and in use until all the new ones are verified."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo, Fault
from rbee_tui.engine import switching, updates
from rbee_tui.engine.catalog import METADATA
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.provisioner import ModelProvisioner
from tests.engine.support_jobs import until

pytestmark = pytest.mark.anyio
REPO = "acme/eyes"
WEIGHTS, PROJECTOR = "eyes-f16.gguf", "mmproj-f16.gguf"
OLD = {WEIGHTS: tiny.build("what it was"), PROJECTOR: b"GGUF old" + bytes(1 << 20)}
NEW = {WEIGHTS: tiny.build("what it will be"), PROJECTOR: b"GGUF new" + bytes(1 << 20)}


@pytest.fixture
def repo() -> DemoRepo:
    """A model of two files."""
    return DemoRepo(REPO, dict(OLD))


@pytest.fixture
def hub(repo: DemoRepo) -> Iterator[DemoHub]:
    """It has the model of two files."""
    with DemoHub([repo]) as served:
        yield served


def held(root: Root) -> dict[str, bytes]:
    """The model's files as a reader finds them now."""
    directory = root.models / "eyes-f16"
    return {name: (directory / name).read_bytes() for name in (WEIGHTS, PROJECTOR)}


async def brought(here: ModelProvisioner) -> str:
    """The model, downloaded, with a file of its user's beside it."""
    model_id = (await here.run(await here.download_model(REPO))).model_id
    (here.models.directory(model_id) / "notes.txt").write_text("mine")
    return model_id


async def newer(here: ModelProvisioner) -> updates.Update:
    """What the Hub has of the one model now."""
    (found,) = await asyncio.to_thread(updates.look, here.models.list(), here.hub)
    return found


class TestSwitch:
    """All of the new, or all of the old."""

    async def test_the_old_stays_until_all_the_new_is_verified(self, make, root: Root, hub: DemoHub, repo):
        """Also while the first of two files is there and verified already; it can be used meanwhile."""
        async with make() as here:
            model_id = await brought(here)
            repo.push(NEW)
            hub.fault = lambda seen: Fault(status=403) if PROJECTOR in seen.path else None
            found = await newer(here)
            assert (found.state, found.size_bytes) == ("newer", sum(map(len, NEW.values())))
            with pytest.raises(RbeeError):
                await here.run(await here.update(found))
            gathered = switching.staging(root, model_id) / WEIGHTS
            assert gathered.read_bytes() == NEW[WEIGHTS]
            entry = here.models.get(model_id)
            assert (entry.health, entry.artifact.status, held(root)) == ("ok", "Available", OLD)
            hub.fault = None
            sent = hub.bytes_sent(f"{REPO}/{WEIGHTS}")
            await here.run(await here.update(found))
            assert hub.bytes_sent(f"{REPO}/{WEIGHTS}") == sent, "what had been verified was not fetched again"
            entry = here.models.get(model_id)
            assert (entry.health, held(root)) == ("ok", NEW)
            assert entry.artifact.revision == found.newest
            assert here.models.verify(model_id).ok
            assert (root.models / model_id / "notes.txt").read_text() == "mine"
            assert list((root.models / switching.STAGING).iterdir()) == []
            assert (await newer(here)).state == "current"

    async def test_what_both_share_is_not_fetched(self, make, root: Root, hub: DemoHub, repo):
        """The server sends no byte of the file that stays; room is asked for the other alone."""
        async with make() as here:
            model_id = await brought(here)
            repo.push({PROJECTOR: NEW[PROJECTOR]})
            sent = hub.bytes_sent(f"{REPO}/{WEIGHTS}")
            await here.run(await here.update(await newer(here)))
            assert hub.bytes_sent(f"{REPO}/{WEIGHTS}") == sent
            assert held(root) == {WEIGHTS: OLD[WEIGHTS], PROJECTOR: NEW[PROJECTOR]}
            assert here.models.verify(model_id).ok

    async def test_keys_of_others_stay(self, make, root: Root, repo):
        """And when the model was first here."""
        async with make() as here:
            model_id = await brought(here)
            path = root.models / model_id / METADATA
            before = json.loads(path.read_text())
            before["artifact"]["theirs"] = before["theirs"] = [1]
            path.write_text(json.dumps(before))
            repo.push(NEW)
            await here.run(await here.update(await newer(here)))
            after = json.loads(path.read_text())
            assert (after["theirs"], after["artifact"]["theirs"]) == ([1], [1])
            assert after["created_at"] == before["created_at"]

    async def test_cancelled_it_leaves_nothing(self, make, root: Root, hub: DemoHub, repo):
        """But the old, as it was."""
        async with make() as here:
            model_id = await brought(here)
            repo.push(NEW)
            hub.rate = 200_000
            job = await here.update(await newer(here))
            await until(lambda: here.get_progress(job).downloaded)
            await here.cancel(job)
            assert held(root) == OLD
            assert not switching.staging(root, model_id).exists()
            assert here.models.get(model_id).health == "ok"

    async def test_it_waits_for_who_reads_the_files(self, make, root: Root, repo):
        """A worker that is starting, or a verification, sees one set of files to its end."""
        async with make() as here:
            model_id = await brought(here)
            repo.push(NEW)
            with here.models.lock(model_id, "start", shared=True):
                job = await here.update(await newer(here))
                await until(lambda: "at work on" in here.get_progress(job).waiting_for)
                assert held(root) == OLD
            await here.run(job)
            assert held(root) == NEW

    @pytest.mark.parametrize("where", ["switch", "tidy"])
    async def test_ended_in_between_it_is_seen_through(self, make, root: Root, repo, monkeypatch, where: str):
        """Before the places changed, or before the old files were cleared away."""
        async with make() as here:
            await brought(here)
            repo.push(NEW)
            with monkeypatch.context() as patched:
                patched.setattr(switching, where, _die)
                job = await here.update(await newer(here))
                with pytest.raises(SystemError):
                    await here.run(job)
            assert held(root) == (OLD if where == "switch" else NEW)
        async with make() as other:
            assert (await other.run(job)).state == "done"
            assert held(root) == NEW
            assert list((root.models / switching.STAGING).iterdir()) == []

    @pytest.mark.parametrize("moved", [0, 1, 2])
    async def test_without_an_exchange_of_the_system_s(self, make, root: Root, repo, monkeypatch, moved: int):
        """Three renames; ended after any of them it is mended and seen through."""
        monkeypatch.setattr(switching, "_swap", lambda one, other: False)
        async with make() as here:
            model_id = await brought(here)
            repo.push(NEW)
            left = [moved]
            with monkeypatch.context() as patched:
                patched.setattr(Path, "rename", _dying(left))
                job = await here.update(await newer(here))
                with pytest.raises(SystemError):
                    await here.run(job)
            if moved == 0:
                assert held(root) == OLD
        async with make() as other:
            assert (await other.run(job)).state == "done"
            assert held(root) == NEW
            assert other.models.verify(model_id).ok


def _die(*_: object) -> None:
    raise SystemError


def _dying(left: list[int]) -> Callable[[Path, Path], Path]:
    """A rename of directories that works so many times."""
    rename = Path.rename

    def call(self: Path, target: Path) -> Path:
        if self.is_dir():
            if not left[0]:
                raise SystemError
            left[0] -= 1
        return rename(self, target)

    return call


class TestRevision:
    """An update follows what was asked for."""

    async def test_a_branch_is_followed(self, make, repo):
        """Not `main`, which has something else."""
        repo.revisions["dev"] = dict(OLD)
        async with make() as here:
            model_id = (await here.run(await here.download_model(REPO, revision="dev"))).model_id
            assert here.models.get(model_id).artifact.requested_revision == "dev"
            repo.push(NEW)
            assert (await newer(here)).state == "current"
            repo.revisions["dev"] = NEW
            found = await newer(here)
            assert (found.state, found.revision) == ("newer", "dev")
            assert found.command == f"rbee pull {REPO}@dev:{WEIGHTS}"

    async def test_a_commit_never_changes(self, make, repo, hub: DemoHub):
        """The Hub is not asked for it."""
        async with make() as here:
            commit = (await asyncio.to_thread(here.hub.repository, REPO)).commit
            await here.run(await here.download_model(REPO, revision=commit))
            repo.push(NEW)
            asked = len(hub.requests)
            assert (await newer(here)).state == "pinned"
            assert len(hub.requests) == asked

    async def test_the_branch_of_what_is_here_already_is_remembered(self, make, repo):
        """Asked for by another branch that has the same files, it follows that one."""
        repo.revisions["dev"] = dict(OLD)
        async with make() as here:
            model_id = (await here.run(await here.download_model(REPO))).model_id
            assert here.models.get(model_id).artifact.requested_revision is None
            await here.run(await here.download_model(REPO, revision="dev"))
            assert here.models.get(model_id).artifact.requested_revision == "dev"

    async def test_many_are_asked_at_once(self, make, hub: DemoHub, repo):
        """One question for each repository, whatever it has to do with how many models."""
        async with make() as here:
            await brought(here)
            entry = here.models.list()[0]
            others = [
                msgspec.structs.replace(
                    entry, id=f"m{n}", artifact=msgspec.structs.replace(entry.artifact, repo=f"acme/{n % 3}")
                )
                for n in range(9)
            ]
            asked = len(hub.requests)
            found = await asyncio.to_thread(updates.look, [entry, *others], here.hub)
            assert [each.state for each in found] == ["current", *["gone"] * 9]
            assert len(hub.requests) - asked == 4
