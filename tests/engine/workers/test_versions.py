"""Versions side by side: which are here, starting one of them, the way back, and updates."""

import shutil
from pathlib import Path

import pytest

from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.catalog import WorkerCatalog
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.workers import offers, versions
from rbee_tui.engine.workers.runtimes import ask, python_for
from tests.engine.workers.support import House, add_fake
from tests.engine.workers.test_install import an_offer, make_wheel, wheels
from tests.engine.workers.test_trees import ID, install, state

__all__ = ["wheels"]


@pytest.fixture
def workers(root: Root) -> WorkerCatalog:
    """Three versions, the newest in use."""
    for version in ("1", "2", "3"):
        install(root, version)
    return WorkerCatalog(root)


def kept(workers: WorkerCatalog) -> list[tuple[str, bool]]:
    """The versions that are here, and which is in use."""
    return [(each.version, each.in_use) for each in versions.listed(workers.get(ID))]


class TestBack:
    def test_the_version_before_comes_back(self, root: Root, workers: WorkerCatalog):
        """Step by step, or to one that is named, also forward; nothing is removed."""
        assert kept(workers) == [("3", True), ("2", False), ("1", False)]
        versions.use(workers, ID)
        assert state(root) == (Health.OK, "2")
        versions.use(workers, ID)
        assert state(root) == (Health.OK, "1")
        with pytest.raises(NotFoundError, match="no earlier version") as caught:
            versions.use(workers, ID)
        assert "rbee workers versions" in caught.value.hint
        versions.use(workers, ID, "3")
        assert kept(workers) == [("3", True), ("2", False), ("1", False)]
        with pytest.raises(NotFoundError, match="no version '9' here") as caught:
            versions.use(workers, ID, "9")
        assert caught.value.hint == "there are 3, 2, 1"

    def test_one_whose_files_are_gone_is_not_taken(self, root: Root, workers: WorkerCatalog):
        """The one in use stays."""
        (root.workers / ID / "2" / ID).unlink()
        with pytest.raises(RefusedError, match="version 2 of llm-worker-cpu is missing"):
            versions.use(workers, ID)
        assert state(root) == (Health.OK, "3")

    def test_what_somebody_put_there_is_no_version(self, root: Root, workers: WorkerCatalog):
        """Neither a folder without metadata, nor another worker's, nor a link."""
        place = root.workers / ID
        (place / "folder").mkdir()
        (place / "link").symlink_to(place / "1")
        text = (place / "1" / "metadata.json").read_text()
        (place / "1" / "metadata.json").write_text(text.replace(f'"{ID}"', '"another"'))
        (place / "2" / "metadata.json").write_text("{")
        assert kept(workers) == [("3", True)]


class TestOneOfThem:
    def test_by_id_and_version(self, workers: WorkerCatalog):
        """As `rbee start --worker` takes it; an id alone is the one in use."""
        assert (found := versions.get(workers, f"{ID}@1").artifact)
        assert (found.version, found.binary_path) == ("1", f"1/{ID}")
        assert versions.get(workers, ID) == workers.get(ID)
        with pytest.raises(NotFoundError, match="has no version '9'"):
            versions.get(workers, f"{ID}@9")
        with pytest.raises(NotFoundError, match="there is no worker 'nope'"):
            versions.get(workers, "nope@1")

    def test_it_is_removed_with_its_files(self, root: Root, workers: WorkerCatalog):
        """Not the one in use."""
        engine = Engine(root)
        removed = engine.remove_worker(f"{ID}@1")
        assert (removed.id, removed.freed_bytes > 0) == (f"{ID}@1", True)
        assert kept(workers) == [("3", True), ("2", False)]
        with pytest.raises(RefusedError, match="is the one in use") as caught:
            engine.remove_worker(f"{ID}@3")
        assert "rollback" in caught.value.hint
        engine.remove_worker(ID)
        assert list((root.workers / ".trash").iterdir()) == []
        assert not (root.workers / ID).exists()

    def test_a_registered_program_has_none(self, house: House, tmp_path: Path):
        """It is its owner's to keep."""
        add_fake(house, tmp_path)
        assert versions.listed(house.workers.get("fake")) == []
        assert house.installer.updatable() == []


@pytest.mark.anyio
class TestUpdate:
    @pytest.fixture
    def offered(self, wheels: Path, monkeypatch):
        """Offers a version of the worker."""

        def offer(version: str, code: str | None = None) -> None:
            digest = make_wheel(wheels, version) if code is None else make_wheel(wheels, version, code)
            found = an_offer(digest, version=version)
            monkeypatch.setattr(offers, "bundled", lambda: (found,))

        return offer

    async def test_there_and_back(self, house: House, offered):
        """A newer one is installed once, and the one before is a rename away."""
        offered("9.9.1")
        await house.installer.install(ID)
        assert house.installer.updatable() == [ID]
        same = await house.installer.update(ID)
        assert (same.changed, same.after) == (False, "9.9.1")
        offered("9.9.2")
        lines: list[str] = []
        newer = await house.installer.update(ID, lines.append)
        assert (newer.before, newer.after, newer.changed) == ("9.9.1", "9.9.2", True)
        assert " + xllamacpp==9.9.2" in lines
        back = versions.use(house.workers, ID)
        assert back.artifact
        assert (back.health, back.artifact.version) == (Health.OK, "9.9.1")
        assert kept(house.workers) == [("9.9.2", False), ("9.9.1", True)]

    async def test_one_that_does_not_run_here_is_not_taken_into_use(self, house: House, offered):
        """The one before goes on."""
        offered("9.9.1")
        await house.installer.install(ID)
        offered("9.9.2", "raise ImportError('no libgomp')")
        with pytest.raises(Exception, match="does not run here"):
            await house.installer.update(ID)
        assert kept(house.workers) == [("9.9.1", True)]

    async def test_a_worker_that_is_spoilt_is_made_anew(self, house: House, offered):
        """Though its version is the one that is offered."""
        offered("9.9.1")
        await house.installer.install(ID)
        (house.root.workers / ID / "9.9.1" / ID).unlink()
        await house.installer.update(ID)
        assert house.workers.get(ID).health is Health.OK

    async def test_nobody_offers_it(self, house: House, tmp_path: Path):
        """As for a program that was registered."""
        add_fake(house, tmp_path)
        with pytest.raises(NotFoundError, match="there is no worker 'fake' to install"):
            await house.installer.update("fake")


class TestCopied:
    """A worker's directory that came from another machine with `scp -r`."""

    @pytest.mark.anyio
    async def test_it_runs_where_it_can(self, house: House, wheels: Path, monkeypatch, tmp_path: Path):
        """Under this machine's own interpreter, where the other one's is not here."""
        found = an_offer(make_wheel(wheels, "9.9.1"))
        monkeypatch.setattr(offers, "bundled", lambda: (found,))
        await house.installer.install(ID)
        other = House(Root(tmp_path / "other").prepare())
        shutil.copytree(house.root.workers / ID, other.root.workers / ID)
        shutil.rmtree(house.root.workers / ID)
        worker = other.workers.update(ID, python="/opt/gone/bin/python3.99").artifact
        assert worker
        python = python_for(worker.python)
        said = ask([str(python), "-I", str(other.root.workers / ID / worker.binary_path), "--devices"])
        assert (said.ending, said.said.strip()) == ("", "CPU: a fake")
        assert [each.version for each in versions.listed(other.workers.get(ID))] == ["9.9.1"]
