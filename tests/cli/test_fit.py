"""`rbee fit`: a matrix for a repository, a model that is here, and a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub
from rbee_tui.demo.repos import REPO, demo_repos
from tests.cli.support import Command


@pytest.fixture
def rbee(tmp_path: Path) -> Iterator[Command]:
    """The command on an empty root and a small Hub."""
    with DemoHub(demo_repos()) as hub:
        yield Command(tmp_path / "home", hub.url)


class TestFit:
    """What it prints."""

    def test_a_repository(self, rbee: Command):
        """A table for each device, and what is recommended."""
        said = rbee.run("fit", REPO, "--gpu", "24GiB", "--gpu", "8G", "--ram", "32GB")
        assert "GPU0: room for 23.0 GiB of 24.0 GiB" in said
        assert "GPU1: room for 7.0 GiB of 8.0 GiB" in said
        assert "all GPUs: room for 30.0 GiB of 32.0 GiB" in said
        assert "CPU: room for 29.8 GiB of 29.8 GiB" in said
        assert "recommended: F16, the largest that fits on GPU0 at 4,096 tokens" in said

    def test_json(self, rbee: Command):
        """Bytes in every cell."""
        found = rbee.json("fit", f"{REPO}:F16", "--context", "512", "--context", "2048", "--kv-type", "q8_0")
        assert found["contexts"] == [512, 2048]
        cell = found["rows"][0]["cells"][0]
        assert cell["needed"] == cell["weights"] + cell["kv"] + cell["compute"] + cell["output"]
        assert cell["word"] == "fits"
        assert found["kv_type"] == "q8_0"

    def test_a_file_and_a_model(self, rbee: Command, tmp_path: Path):
        """The same figures for both."""
        path = tiny.write(tmp_path / "tiny.gguf").path
        alone = rbee.json("fit", str(path))
        rbee.run("models", "import", str(path), "--id", "mine")
        kept = rbee.json("fit", "mine")
        assert (alone["subject"], kept["subject"]) == ("tiny.gguf", "mine")
        assert alone["rows"][0]["cells"][0]["needed"] == kept["rows"][0]["cells"][0]["needed"]

    def test_what_makes_no_sense(self, rbee: Command):
        """With what to do."""
        rbee.fails("fit", "nothing", code=3, saying="nothing")
        rbee.fails("fit", f"{REPO}:", code=2, saying="names no file")
        code, _, said = rbee.ended("fit", REPO, "--gpu", "lots")
        assert (code, "it looks like 24GiB" in said) == (2, True)
