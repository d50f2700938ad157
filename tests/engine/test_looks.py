"""Two looks at a catalog's directory tell what changed between them; none is made where the system tells."""

import errno
import os
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.engine import looks, notices
from rbee_tui.engine.looks import Look, Lookout, differing
from rbee_tui.engine.metadata import NAME
from rbee_tui.engine.paths import Root

OLD_NS = 1_700_000_000_000_000_000
LINUX = pytest.mark.skipif(not Path("/proc/sys/fs/inotify").exists(), reason="only Linux tells")


def seen(**stamps: int) -> Look:
    """A look that found these names, in this order."""
    return Look("".join(f"{name}/" for name in stamps), array("q", stamps.values()))


class TestDiffering:
    """Pure: by name, whatever the order."""

    @pytest.mark.parametrize(
        ("one", "other", "names"),
        [
            (seen(), seen(), set[str]()),
            (seen(a=1, b=2), seen(a=1, b=2), set[str]()),
            (seen(a=1, b=2), seen(b=2, a=1), set[str]()),
            (seen(a=1, b=2, c=3), seen(a=1, b=4, c=3), {"b"}),
            (seen(a=1, c=3), seen(a=1, b=2, c=3), {"b"}),
            (seen(a=1, b=2, c=3), seen(a=1, c=3), {"b"}),
            (seen(a=1, b=2, c=3), seen(c=3, d=4, a=5), {"a", "b", "d"}),
            (seen(), seen(a=0), {"a"}),
            (seen(a=1), seen(), {"a"}),
        ],
    )
    def test_what_came_went_or_changed(self, one: Look, other: Look, names: set[str]):
        """A name that only moved within the directory is as before."""
        assert differing(one, other) == names


@pytest.fixture
def models(root: Root) -> Path:
    """A catalog of two directories with metadata, one without and a file, all of long ago."""
    for name in ("one", "other", "bare"):
        (root.models / name).mkdir()
    for name in ("one", "other"):
        (root.models / name / NAME).write_text("{}")
    (root.models / "loose.gguf").write_text("GGUF")
    (root.path / "ready").touch()
    for path in root.models.rglob("*"):
        os.utime(path, ns=(OLD_NS, OLD_NS))
    return root.models


class Looking:
    """Counts the looks that were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._look = looks.look
        monkeypatch.setattr(looks, "look", self._counted)

    def _counted(self, base: str) -> Look:
        self.count += 1
        return self._look(base)


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Looking:
    """What `look()` is asked."""
    return Looking(monkeypatch)


@pytest.fixture(params=["looking", pytest.param("told", marks=LINUX)])
def lookout(request: pytest.FixtureRequest, models: Path, monkeypatch: pytest.MonkeyPatch) -> Lookout:
    """That has seen the catalog; it looks at every call by itself, or at those of which it was told."""
    monkeypatch.setattr(looks, "MANY", 1 if request.param == "told" else 1000)
    return settled(models)


@pytest.fixture
def told(models: Path, monkeypatch: pytest.MonkeyPatch) -> Lookout:
    """Once the system tells it of everything."""
    monkeypatch.setattr(looks, "MANY", 1)
    return settled(models)


def settled(models: Path) -> Lookout:
    """One that has looked often enough to rely on what it is told, if ever it does."""
    lookout = Lookout(str(models))
    assert [lookout.changed() for _ in range(3)] == [set()] * 3
    return lookout


def rewrite(models: Path) -> None:
    """As an editor that writes into the file in its place: its size stays."""
    (models / "one" / NAME).write_text("[]")


def replace(models: Path) -> None:
    """As rbee: another file by rename, here of the same size and time; the directory's time is set back."""
    new = models / "one" / "new"
    new.write_text("{}")
    os.utime(new, ns=(OLD_NS, OLD_NS))
    new.rename(models / "one" / NAME)
    os.utime(models / "one", ns=(OLD_NS, OLD_NS))


def bring(models: Path) -> None:
    """A file comes beside the metadata."""
    (models / "one" / "weights.gguf").touch()


def take(models: Path) -> None:
    """The metadata goes."""
    (models / "one" / NAME).unlink()


def move_in(models: Path) -> None:
    """A file comes from elsewhere by rename; it stands ready."""
    (models.parent / "ready").rename(models / "one" / "ready")


def move_out(models: Path) -> None:
    """The metadata goes elsewhere by rename."""
    (models / "one" / NAME).rename(models.parent / "away")


def exchange(models: Path) -> None:
    """Another directory comes in the place of one."""
    (models / "one").rename(models.parent / "away")
    shutil.copytree(models.parent / "away", models / "one")


CHANGES = [rewrite, replace, bring, take, move_in, move_out, exchange]


class TestLookout:
    """On a disk."""

    @pytest.mark.parametrize("what", CHANGES)
    def test_it_changed(self, lookout: Lookout, models: Path, what: Callable[[Path], None]):
        """Told once, of that one alone; and again when it happens again."""
        what(models)
        assert lookout.changed() == {"one"}
        assert lookout.changed() == set()
        bring(models)
        (models / "one" / "another").touch()
        assert lookout.changed() == {"one"}

    def test_it_came_or_went(self, lookout: Lookout, models: Path):
        """Also a directory that has no metadata; a hidden one and a stray file stand for nothing."""
        (models / "bare").rmdir()
        (models / "%41bc").mkdir()
        (models / ".part").mkdir()
        (models / "notes.txt").touch()
        assert lookout.changed() == {"bare", "Abc"}

    def test_a_file_grows(self, lookout: Lookout, models: Path):
        """It lies loose in the catalog."""
        with (models / "loose.gguf").open("a") as file:
            file.write("more")
        assert lookout.changed() == {"loose.gguf"}

    def test_what_came_is_seen_to_change(self, lookout: Lookout, models: Path):
        """At once, and later."""
        (models / "new").mkdir()
        assert lookout.changed() == {"new"}
        (models / "new" / NAME).write_text("{}")
        assert lookout.changed() == {"new"}
        assert [lookout.changed() for _ in range(2)] == [set()] * 2
        (models / "new" / NAME).write_text("[]")
        assert lookout.changed() == {"new"}

    def test_the_names_are_any_bytes(self, lookout: Lookout, models: Path):
        """What is no valid text is found, too."""
        new = models / os.fsdecode(b"bytes-\xff")
        new.mkdir()
        assert len(lookout.changed()) == 1
        lookout.changed()
        (new / NAME).write_text("{}")
        assert len(lookout.changed()) == 1

    def test_a_catalog_that_cannot_be_listed(self, lookout: Lookout, models: Path):
        """Raises; and the next look tells what happened since the last good one."""
        (models / "bare").rmdir()
        away = models.rename(models.with_name("away"))
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                lookout.changed()
        away.rename(models)
        assert lookout.changed() == {"bare"}

    def test_another_catalog_in_its_place(self, lookout: Lookout, models: Path):
        """What happens there is seen, then and later."""
        models.rename(models.with_name("away"))
        (models / "one").mkdir(parents=True)
        assert lookout.changed() == {"one", "other", "bare", "loose.gguf"}
        bring(models)
        assert lookout.changed() == {"one"}


@LINUX
class TestTold:
    """The system tells."""

    def test_while_nothing_happens_one_does_not_look(self, told: Lookout, models: Path, looking: Looking):
        """Once something did, one does, until all of it is listened to."""
        assert told.changed() == set()
        assert looking.count == 0
        bring(models)
        assert told.changed() == {"one"}
        assert looking.count == 1
        assert [told.changed() for _ in range(4)] == [set()] * 4
        assert looking.count == 2

    def test_between_the_look_and_the_listening(self, models: Path, monkeypatch: pytest.MonkeyPatch):
        """What happens then is seen all the same."""
        monkeypatch.setattr(looks, "MANY", 1)
        lookout = Lookout(str(models))
        lookout.changed()
        look = looks.look
        with monkeypatch.context() as patch:
            patch.setattr(looks, "look", lambda base: [look(base), bring(models)][0])
            assert lookout.changed() == set()
        assert lookout.changed() == {"one"}

    def test_a_failed_look_is_made_up_for(self, told: Lookout, models: Path, monkeypatch: pytest.MonkeyPatch):
        """What was told before it is not forgotten."""
        bring(models)
        with monkeypatch.context() as patch:
            patch.setattr(looks, "look", lambda _: (_ for _ in ()).throw(OSError(24, "Too many open files")))
            with pytest.raises(OSError, match="Too many"):
                told.changed()
        assert told.changed() == {"one"}

    def test_now_and_then_one_looks_all_the_same(self, models: Path, looking: Looking, monkeypatch):
        """Once some time has passed: here at every call."""
        monkeypatch.setattr(looks, "MANY", 1)
        monkeypatch.setattr(looks, "SURE_SECONDS", 0.0)
        lookout = settled(models)
        looking.count = 0
        assert lookout.changed() == lookout.changed() == set()
        assert looking.count == 2

    @pytest.mark.parametrize("what", [None, *CHANGES])
    def test_more_happened_than_it_keeps(
        self, told: Lookout, models: Path, looking: Looking, what: Callable[[Path], None] | None
    ):
        """The system drops what comes when nobody reads, and says so."""
        for _ in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())):
            (models / "other").chmod(0o700)
            (models / "bare").chmod(0o700)
        looking.count = 0
        if what:
            what(models)
        assert told.changed() == ({"one"} if what else set())
        assert looking.count == 1


class Refusing:
    """Lets a program listen to so many directories, and to no more."""

    def __init__(self, allowed: int) -> None:
        self.refused = 0
        self._left = allowed
        self._call = notices._call

    def __call__(self, function: str, *values: Any) -> int:
        """As the system would."""
        if function == "inotify_add_watch":
            self._left -= 1
            if self._left < 0:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._call(function, *values)


def handles() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@LINUX
class TestNotTold:
    """Where not everything would be told, one looks each time."""

    def always_looks(self, models: Path, looking: Looking) -> bool:
        """Whether every call looks."""
        lookout = settled(models)
        looking.count = 0
        assert lookout.changed() == lookout.changed() == set()
        return looking.count == 2

    @pytest.fixture(autouse=True)
    def many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There are enough names for it."""
        monkeypatch.setattr(looks, "MANY", 1)

    def test_the_contrary(self, models: Path, looking: Looking):
        """Nothing stands in the way here."""
        assert not self.always_looks(models, looking)

    def test_few_names(self, models: Path, looking: Looking, monkeypatch: pytest.MonkeyPatch):
        """It is not worth it."""
        monkeypatch.setattr(looks, "MANY", 5)
        assert self.always_looks(models, looking)

    def test_a_file_system_of_others(self, models: Path, looking: Looking, monkeypatch: pytest.MonkeyPatch):
        """As NFS."""
        monkeypatch.setattr(notices, "_LOCAL", {0x6969})
        assert self.always_looks(models, looking)

    def test_a_link_out_of_it(self, models: Path, looking: Looking, tmp_path: Path):
        """It may lead anywhere."""
        (models / "link").symlink_to(tmp_path)
        assert self.always_looks(models, looking)

    def test_a_link_that_comes_later(self, told: Lookout, models: Path, looking: Looking, tmp_path: Path):
        """What lies behind it is seen to change."""
        (models / "link").symlink_to(tmp_path)
        (tmp_path / NAME).write_text("{}")
        assert told.changed() == {"link"}
        told.changed()
        (tmp_path / NAME).write_text("[]")
        assert told.changed() == {"link"}

    def test_another_device(self, models: Path, looking: Looking, monkeypatch: pytest.MonkeyPatch):
        """Mounted there."""
        monkeypatch.setattr(notices, "_place", lambda path: (-1, Path(path).stat().st_ino))
        assert self.always_looks(models, looking)

    @pytest.mark.parametrize("most", ["15", "", None])
    def test_too_many_for_one_user(
        self,
        models: Path,
        looking: Looking,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        most: str | None,
    ):
        """Four names would be more than a quarter; or the system does not say how many."""
        if most is not None:
            (tmp_path / "most").write_text(most)
        monkeypatch.setattr(notices, "_MOST", tmp_path / "most")
        assert self.always_looks(models, looking)

    def test_just_enough(self, models: Path, looking: Looking, tmp_path: Path, monkeypatch):
        """A quarter is not too many."""
        (tmp_path / "most").write_text("16\n")
        monkeypatch.setattr(notices, "_MOST", tmp_path / "most")
        assert not self.always_looks(models, looking)

    @pytest.mark.parametrize("allowed", [0, 1, 3])
    def test_the_system_refuses(self, models: Path, looking: Looking, monkeypatch, allowed: int):
        """As when all watches are taken, at once or by and by; what was opened is closed, and it stays so."""
        refusing = Refusing(allowed)
        monkeypatch.setattr(notices, "_call", refusing)
        before = handles()
        lookout = settled(models)
        assert handles() == before
        assert refusing.refused == 1
        looking.count = 0
        assert lookout.changed() == lookout.changed() == set()
        assert looking.count == 2
        assert refusing.refused == 1

    def test_it_is_closed_with_its_user(self, told: Lookout):
        """Nobody has to say so."""
        before = handles()
        told.__init__("elsewhere")
        assert handles() == before - 1
