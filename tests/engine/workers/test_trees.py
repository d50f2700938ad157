"""A worker's directory: whole or not there, and never worse than before."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Health, Worker
from rbee_tui.engine.catalog import WorkerCatalog
from rbee_tui.engine.errors import StorageError
from rbee_tui.engine.paths import Root
from rbee_tui.engine.workers import trees
from rbee_tui.engine.workers.trees import Staging, sweep

ID = "llm-worker-cpu"


def worker(version: str) -> Worker:
    """A worker of the given version."""
    return Worker(id=ID, name="CPU", version=version, binary_path=ID, worker_type="cpu")


def install(root: Root, version: str) -> None:
    """Put a version in place, and into use."""
    staging = Staging(root, ID)
    staging.begin()
    staging.furnish(ID)
    (staging.path / "site").mkdir()
    (staging.path / "site" / "module.py").write_text(version)
    try:
        staging.publish(worker(version))
        sweep(WorkerCatalog(root), ID)
    finally:
        staging.clear()


def state(root: Root) -> tuple[str, str]:
    """The health of the worker and the version in use, whose files are that version's; empty for none."""
    entries = WorkerCatalog(root).list()
    if not entries:
        return "", ""
    (entry,) = entries
    assert entry.artifact
    said = Path(entry.directory, entry.artifact.binary_path).with_name("site") / "module.py"
    assert said.read_text() == entry.artifact.version
    return entry.health, entry.artifact.version


def names(path: Path) -> set[str]:
    """What is in a directory."""
    return {each.name for each in path.iterdir()}


class TestPublish:
    """Into its place in one step."""

    def test_the_new_one_is_used_and_the_old_one_stays(self, root: Root):
        """And nothing lies beside the worker."""
        install(root, "1")
        assert state(root) == (Health.OK, "1")
        install(root, "2")
        assert state(root) == (Health.OK, "2")
        assert names(root.workers) == {ID}
        assert names(root.workers / ID) == {"1", "2", "metadata.json"}

    def test_the_same_version_again(self, root: Root):
        """It replaces its own copy, also one that was spoilt; the name of the directory is another."""
        for _ in range(3):
            install(root, "1")
        assert state(root) == (Health.OK, "1")
        assert len(names(root.workers / ID)) == 2

    def test_three_are_kept(self, root: Root):
        """The one in use and the two before; what else lies there goes with the older ones."""
        install(root, "1")
        (root.workers / ID / "site").mkdir()
        (root.workers / ID / "left.over").touch()
        for version in ("2", "3", "4"):
            install(root, version)
        assert names(root.workers / ID) == {"2", "3", "4", "metadata.json"}

    @pytest.mark.parametrize("version", ["", "..", "1/2", "metadata.json", ".hidden", "ü 1", "x" * 300])
    def test_any_version_has_a_directory(self, root: Root, version: str):
        """Beneath the worker's, visible, and never in the metadata's place."""
        install(root, version)
        assert state(root) == (Health.OK, version)
        (name,) = names(root.workers / ID) - {"metadata.json"}
        assert not name.startswith(".")

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
            staging.publish(worker("1"))
        finally:
            os.umask(before)
        place = root.workers / ID
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in place.rglob("*") if not p.is_symlink()}
        assert modes == {
            "1": 0o755,
            ID: 0o755,
            "site": 0o755,
            "module.py": 0o644,
            "tool": 0o755,
            "metadata.json": 0o644,
        }
        assert stat.S_IMODE(place.stat().st_mode) == 0o755
        assert (place / "1" / "site" / "gone").is_symlink()

    def test_a_link_in_its_place_is_not_followed(self, root: Root, tmp_path: Path):
        """What it leads to stays as it is."""
        (tmp_path / "elsewhere").mkdir()
        (root.workers / ID).symlink_to(tmp_path / "elsewhere")
        install(root, "1")
        assert state(root) == (Health.OK, "1")
        assert names(tmp_path / "elsewhere") == set()


class Killed(BaseException):
    """The process ends here."""


def killed_at(position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End at the n-th change of a name."""
    left = [position]
    for function in ("rename", "replace"):
        real = getattr(os, function)

        def counted(*args, real=real, **named):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **named)

        monkeypatch.setattr(os, function, counted)


class TestKilled:
    """Wherever an install ends, the worker is the one before or the new one, and whole."""

    @pytest.mark.parametrize("first", [True, False])
    @pytest.mark.parametrize("position", range(6))
    def test_at_every_change_of_a_name(self, root: Root, monkeypatch, position: int, first: bool):
        """And the next install finds its way, and clears away what was left."""
        if not first:
            install(root, "1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Staging, "clear", lambda self: None)  # nobody is there to clear
            killed_at(position, patch)
            with suppress(Killed):
                install(root, "2")
        assert state(root) in (("", ""), (Health.OK, "1"), (Health.OK, "2"))
        assert state(root) != ("", "") or first
        install(root, "3")
        assert state(root) == (Health.OK, "3")
        assert names(root.workers) == {ID}

    def test_metadata_before_files_would_be_seen(self, root: Root, monkeypatch):
        """The order is what the test above looks at."""
        install(root, "1")
        real = Path.rename

        def late(self: Path, target: Path) -> Path:
            return target if self.name.startswith(".staging-") else real(self, target)

        monkeypatch.setattr(Path, "rename", late)
        install(root, "2")
        with pytest.raises(FileNotFoundError):
            state(root)

    def test_a_full_disk(self, root: Root, monkeypatch):
        """The new metadata cannot be written: the old version is used, and the sentence says why."""
        install(root, "1")
        write = durable.write

        def full(path: Path, data: bytes, mode: int = 0o644) -> None:
            if path.parent.name == ID:
                raise OSError(28, "No space left on device")
            write(path, data, mode)

        monkeypatch.setattr(trees.durable, "write", full)
        with pytest.raises(Exception, match=r"cannot install .*No space left on device") as caught:
            install(root, "2")
        assert not isinstance(caught.value, StorageError)  # its own kind: no space
        assert state(root) == (Health.OK, "1")


class TestLauncher:
    """A worker that an older rbee installed."""

    def test_it_is_brought_to_this_one_s(self, root: Root, tmp_path: Path):
        """Where it is the root's own; a program elsewhere is left alone, and one that is the same as well."""
        mine, other = root.workers / "w" / "llm-worker-cpu", tmp_path / "elsewhere"
        mine.parent.mkdir()
        for each in (mine, other):
            each.write_text("an older one")
            trees.refresh_launcher(root, each)
        assert mine.read_bytes() == trees.LAUNCHER.read_bytes()
        assert mine.stat().st_mode & 0o777 == 0o755
        assert other.read_text() == "an older one"
        inode = mine.stat().st_ino
        trees.refresh_launcher(root, mine)
        assert mine.stat().st_ino == inode
