"""A file of the Hub's own cache as a model: without a copy, and without harm to the cache."""

import subprocess
import sys
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.cli.support import Command
from tests.engine.others import tree

NAME = "tiny-f16.gguf"
FETCH = "import sys, huggingface_hub as h; print(h.hf_hub_download(sys.argv[1], sys.argv[2], token=False))"
SCAN = """
import huggingface_hub as h
found = h.scan_cache_dir()
print(len(found.warnings), [each.repo_id for each in found.repos], found.size_on_disk)
"""


@pytest.fixture
def library(tmp_path: Path):
    """The Hub's library in a process of its own, with a cache of its own, on a Hub of the test's."""
    with DemoHub([DemoRepo("acme/tiny", {NAME: tiny.build("it stays"), "README.md": b"# x"})]) as hub:
        rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="", HF_HOME=str(tmp_path / "hf"))

        def ask(code: str, *words: str) -> str:
            call = [sys.executable, "-c", code, *words]
            done = subprocess.run(call, env=rbee.environment, capture_output=True, text=True, check=True)
            return done.stdout.strip()

        yield rbee, ask


class TestAdopting:
    """Linked, verified, removed; the cache is what it was."""

    @pytest.mark.parametrize("verb", [("adopt",), ("import", "--in-place")])
    def test_the_cache_is_left_as_it_was(self, tmp_path: Path, library, verb: tuple[str, ...]):
        """Byte for byte, and its own library finds nothing wrong; the model is known by its commit."""
        rbee, ask = library
        cached = Path(ask(FETCH, "acme/tiny", NAME))
        assert cached.is_symlink()
        before, scanned = tree(tmp_path / "hf"), ask(SCAN)
        (found,) = rbee.json("models", "elsewhere")
        what = found["id"] if verb[0] == "adopt" else str(cached)
        assert what in ("acme/tiny:" + NAME, str(cached))
        model = rbee.run("models", *verb, what).strip()
        directory = tmp_path / "home" / "models" / model
        assert (directory / NAME).exists() is ("--in-place" not in verb)
        assert not (directory / NAME).is_symlink()
        told = rbee.json("models", "show", model)["artifact"]
        assert (told["repo"], told["revision"]) == ("acme/tiny", cached.parent.name)
        (update,) = rbee.json("models", "outdated")
        assert update["state"] == "current"
        assert rbee.json("models", "verify", model)[0]["ok"]
        assert rbee.json("models", "elsewhere")[0]["here"] == model
        assert rbee.json("pull", f"acme/tiny:{NAME}")["job"]["state"] == "done"
        assert tree(tmp_path / "hf") == before
        assert rbee.json("models", "remove", "--yes", model)["freed_bytes"] == 0
        assert tree(tmp_path / "hf") == before
        assert ask(SCAN) == scanned
        assert scanned.startswith("0 ['acme/tiny']")
        assert Path(ask(FETCH, "acme/tiny", NAME)) == cached

    def test_what_a_move_would_do_is_seen(self, tmp_path: Path, library):
        """The mutant: a cache whose blob was taken away is not what it was."""
        _, ask = library
        cached = Path(ask(FETCH, "acme/tiny", NAME))
        before = tree(tmp_path / "hf")
        cached.resolve().rename(tmp_path / "taken.gguf")
        assert tree(tmp_path / "hf") != before
        assert not ask(SCAN).startswith("0 ")
