"""Two looks at a catalog's directory tell what changed between them."""

import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from rbee_tui.engine.catalog import METADATA, ModelCatalog
from rbee_tui.engine.errors import StorageError
from rbee_tui.engine.looks import Look, differing
from rbee_tui.engine.paths import Root

OLD_NS = 1_700_000_000_000_000_000


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
def models(root: Root) -> ModelCatalog:
    """A catalog of two directories with metadata and one without, all of long ago."""
    for name in ("one", "other", "bare"):
        (root.models / name).mkdir()
    for name in ("one", "other"):
        (root.models / name / METADATA).write_text("{}")
    for path in root.models.rglob("*"):
        os.utime(path, ns=(OLD_NS, OLD_NS))
    return ModelCatalog(root)


def rewrite(place: Path) -> None:
    """As an editor that writes into the file in its place: its size stays."""
    (place / METADATA).write_text("[]")


def replace(place: Path) -> None:
    """As rbee: another file by rename, here of the same size and time; the directory's time is set back."""
    new = place / "new"
    new.write_text("{}")
    os.utime(new, ns=(OLD_NS, OLD_NS))
    new.rename(place / METADATA)
    os.utime(place, ns=(OLD_NS, OLD_NS))


def bring(place: Path) -> None:
    """A file comes beside the metadata."""
    (place / "weights.gguf").touch()


class TestCatalog:
    """On a disk."""

    def test_the_first_look_tells_nothing(self, models: ModelCatalog):
        """There is nothing to compare with; nor does a second where nothing happened."""
        assert models.changed() == set()
        assert models.changed() == set()

    @pytest.mark.parametrize("what", [rewrite, replace, bring])
    def test_it_changed(self, models: ModelCatalog, what: Callable[[Path], None]):
        """Told once, of that one alone."""
        models.changed()
        what(models.path / "one")
        assert models.changed() == {"one"}
        assert models.changed() == set()

    def test_it_came_or_went(self, models: ModelCatalog):
        """Also a directory that has no metadata; a hidden one and a stray file stand for nothing."""
        models.changed()
        (models.path / "bare").rmdir()
        (models.path / "%41bc").mkdir()
        (models.path / ".part").mkdir()
        (models.path / "notes.txt").touch()
        assert models.changed() == {"bare", "Abc"}

    def test_the_names_are_any_bytes(self, models: ModelCatalog):
        """What is no valid text is found, too."""
        models.changed()
        (models.path / os.fsdecode(b"bytes-\xff")).mkdir()
        assert len(models.changed()) == 1

    def test_a_catalog_that_cannot_be_listed(self, models: ModelCatalog):
        """Raises; and the next look tells what happened since the last good one."""
        models.changed()
        away = models.path.rename(models.path.with_name("away"))
        with pytest.raises(StorageError):
            models.changed()
        (away / "bare").rmdir()
        away.rename(models.path)
        assert models.changed() == {"bare"}
