"""A worker's directory: whole or not there, and never worse than before."""

import os
import stat
import sys
from pathlib import Path

import pytest

from rbee_tui.engine.artifacts import Health, Worker
from rbee_tui.engine.catalog import WorkerCatalog
from rbee_tui.engine.errors import StorageError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.workers import trees
from rbee_tui.engine.workers.trees import Staging, exchange

ID = "llm-worker-cpu"


def worker(version: str) -> Worker:
    """A worker of the given version."""
    return Worker(id=ID, name="CPU", version=version, binary_path=ID, worker_type="cpu")


def install(root: Root, version: str) -> None:
    """Put a version in place."""
    staging = Staging(root, ID)
    staging.begin()
    staging.furnish(ID)
    (staging.path / version).write_text(version)
    try:
        staging.publish(worker(version))
    finally:
        staging.clear()


def here(root: Root) -> dict[str, str]:
    """What is in the workers' directory: names, each with the version that is in it."""
    return {
        path.name: next((file.name for file in path.iterdir() if file.name.startswith("v")), "")
        for path in root.workers.iterdir()
    }


@pytest.fixture(params=["one step", "two steps"])
def steps(request, monkeypatch) -> str:
    """With a file system that can exchange directories, and with one that cannot."""
    if request.param == "two steps":
        monkeypatch.setattr(trees, "exchange", lambda one, other: False)
    return request.param


class TestPublish:
    """Into its place in one step."""

    def test_the_new_one_replaces_the_old(self, root: Root, steps):
        """Nothing of the old one stays, beside it or in it."""
        install(root, "v1")
        assert here(root) == {ID: "v1"}
        install(root, "v2")
        assert here(root) == {ID: "v2"}
        entry = WorkerCatalog(root).get(ID)
        assert (entry.health, entry.artifact and entry.artifact.version) == (Health.OK, "v2")

    def test_modes_do_not_depend_on_the_umask(self, root: Root):
        """Others may use a worker; what is a link is left as it is."""
        before = os.umask(0o077)
        try:
            staging = Staging(root, ID)
            staging.begin()
            staging.furnish(ID)
            site = staging.path / "site"
            site.mkdir()
            (site / "module.py").write_text("")
            (site / "tool").write_text("")
            (site / "tool").chmod(0o700)
            (site / "gone").symlink_to("nowhere")
            staging.publish(worker("v1"))
        finally:
            os.umask(before)
        place = root.workers / ID
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in place.rglob("*") if not p.is_symlink()}
        assert modes == {
            ID: 0o755,
            "site": 0o755,
            "module.py": 0o644,
            "tool": 0o755,
            "metadata.json": 0o644,
        }
        assert stat.S_IMODE(place.stat().st_mode) == 0o755
        assert (place / "site" / "gone").is_symlink()


class TestFailure:
    """What was there stays."""

    @pytest.fixture
    def no_room(self, monkeypatch):
        """The new tree cannot be put in place."""
        rename = Path.rename

        def refuse(self: Path, target: Path) -> Path:
            if self.name.startswith(".staging-"):
                raise PermissionError(1, "Operation not permitted")
            return rename(self, target)

        monkeypatch.setattr(trees, "exchange", lambda one, other: False)
        return lambda: monkeypatch.setattr(Path, "rename", refuse)

    def test_the_old_one_is_put_back(self, root: Root, no_room):
        """Where the second of two steps fails."""
        install(root, "v1")
        no_room()
        with pytest.raises(StorageError, match=r"cannot install .*Operation not permitted"):
            install(root, "v2")
        assert here(root) == {ID: "v1"}

    def test_without_putting_it_back_it_would_be_lost(self, root: Root, no_room, monkeypatch):
        """The check above sees that."""

        def naive(self: Staging) -> None:
            self.target.rename(self._old)
            self.path.rename(self.target)

        install(root, "v1")
        monkeypatch.setattr(Staging, "_exchange_in_two_steps", naive)
        no_room()
        with pytest.raises(StorageError):
            install(root, "v2")
        assert here(root) == {}

    def test_a_killed_install_is_cleared_away_and_undone(self, root: Root):
        """Whatever it was killed between: the next one begins by putting back what was moved."""
        install(root, "v1")
        killed = Staging(root, ID)
        killed.begin()
        (killed.path / "half").write_text("")
        killed.target.rename(killed._old)
        Staging(root, ID).begin()
        assert here(root) == {ID: "v1", killed.path.name: ""}

    def test_one_that_was_killed_after_the_exchange_leaves_the_new_one(self, root: Root):
        """What it had moved away is an old one by then."""
        install(root, "v2")
        killed = Staging(root, ID)
        killed._old.mkdir()
        (killed._old / "v1").write_text("")
        killed.begin()
        killed.clear()
        assert here(root) == {ID: "v2"}


class TestExchange:
    """Two directories change places in one step."""

    def test_it_is_so_or_nothing_happened(self, tmp_path: Path):
        """On systems that can."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).touch()
        changed = exchange(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "one" / ("two" if changed else "one")).exists()
        assert changed or sys.platform not in ("linux", "darwin")

    def test_one_that_is_not_there_cannot(self, tmp_path: Path):
        """The caller goes the other way."""
        assert not exchange(tmp_path / "one", tmp_path / "two")

    def test_a_system_that_cannot_says_so(self, tmp_path: Path, monkeypatch):
        """An unknown one is not asked."""
        monkeypatch.setattr(sys, "platform", "freebsd14")
        assert not exchange(tmp_path, tmp_path)
