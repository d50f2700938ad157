"""What is known of a model beyond its entry."""

from pathlib import Path

from rbee_tui.demo import tiny
from rbee_tui.engine import gguf
from rbee_tui.engine.about import About, about, facts
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from tests.cli.support import Command


class TestAbout:
    """Read from its files, and from this machine."""

    def test_a_model_that_is_here(self, root: Root, tmp_path: Path):
        """Its shape, where it fits, and whose its bytes are."""
        house = Engine(root, Hub("http://127.0.0.1:9", token=""))
        source = tiny.write(tmp_path / "tiny.gguf").path
        for how in ("copy", "link", "in place"):
            house.models.import_gguf(source, how.replace(" ", "-"), how=how)
        told = {name: about(house, house.models.get(name)) for name in ("copy", "link", "in-place")}
        assert [each.held for each in told.values()] == ["its own", "linked", "in place"]
        found = told["copy"]
        assert found.header["layers"] == "2, 256 wide"
        assert found.header["heads"] == "4, 2 for keys and values"
        assert found.fit["CPU"].startswith("fits up to ")
        assert found.workers == []

    def test_what_cannot_be_read_is_left_out(self, root: Root, tmp_path: Path):
        """A file that is gone, and an entry that says nothing."""
        house = Engine(root, Hub("http://127.0.0.1:9", token=""))
        house.models.import_gguf(tiny.write(tmp_path / "tiny.gguf").path)
        (root.models / "tiny" / "tiny.gguf").unlink()
        assert about(house, house.models.get("tiny")) == About()
        (root.models / "odd").mkdir()
        assert about(house, house.models.get("odd")) == About()

    def test_an_unusual_header(self, tmp_path: Path):
        """Says only what it has."""
        header = gguf.read_whole(tiny.write(tmp_path / "tiny.gguf").path)
        assert "experts" not in dict(facts(header))
        assert "window" not in dict(facts(header))

    def test_by_the_command(self, tmp_path: Path):
        """In words and as JSON."""
        rbee = Command(tmp_path / "home")
        rbee.run("models", "import", str(tiny.write(tmp_path / "tiny.gguf").path))
        said = rbee.run("models", "show", "tiny")
        assert "fits up to" in said
        assert "2, 256 wide" in said
        assert rbee.json("models", "show", "tiny")["about"]["held"] == "its own"
