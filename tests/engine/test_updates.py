"""Whether the Hub has something newer, and how it comes: the old stays until the new is verified."""

from pathlib import Path

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.cli.support import Command

NAME = "tiny-f16.gguf"


class TestOutdated:
    """By the files, not by the commit alone."""

    def test_a_newer_file_is_found_and_brought(self, tmp_path: Path):
        """A commit that changes something else is none; the command that is named updates the model."""
        old, new = tiny.build("the old one"), tiny.build("the new one, which is longer")
        repo = DemoRepo("acme/tiny", {NAME: old, "README.md": b"# one"})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            model = rbee.run("pull", "acme/tiny").strip()
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "current"
            repo.push({"README.md": b"# two"})
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "current"
            assert found["newest"] != found["commit"]
            repo.push({NAME: new})
            (found,) = rbee.json("models", "outdated")
            assert (found["state"], found["size_bytes"]) == ("newer", len(new))
            file = tmp_path / "home" / "models" / model / NAME
            assert file.read_bytes() == old
            assert rbee.run(*found["command"].split()[1:]).strip() == model
            assert file.read_bytes() == new
            repo.push({NAME: old})
            assert rbee.run("models", "update", "--all").strip() == model
            assert file.read_bytes() == old
            assert rbee.json("models", "update", model[:4]) == []
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "current"
            assert rbee.json("models", "verify", model)[0]["ok"]

    def test_what_is_gone_is_said(self, tmp_path: Path):
        """The model here stays as it is."""
        repo = DemoRepo("acme/tiny", {NAME: tiny.build("one")})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            rbee.run("pull", "acme/tiny")
            hub.repos.clear()
            (found,) = rbee.json("models", "outdated")
            assert found["state"] == "gone"
            assert "there is no repository acme/tiny" in found["reason"]
            rbee.fails("models", "update", "tiny-f16", code=3, saying="cannot be updated")
            rbee.fails("models", "update", code=2, saying="name one model, or --all")
