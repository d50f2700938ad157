"""rbee files: a repository as one would choose from it."""

from pathlib import Path

from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.cli.support import Command

CARD = b"# Tiny\n\nA model that recites one sentence and **nothing** else, \x1b]0;x\x07 made for a test.\n"


class TestFiles:
    """Card, licence, gate, revisions and choices, without a byte of weights."""

    def test_a_repository(self, tmp_path: Path):
        """Shards are one, the projector is with its model, nothing from outside is obeyed."""
        names = [
            "m-Q8_0-00001-of-00002.gguf",
            "m-Q8_0-00002-of-00002.gguf",
            "m-Q4_K_M.gguf",
            "mmproj-F16.gguf",
        ]
        repo = DemoRepo("acme/tiny", {"README.md": CARD, **dict.fromkeys(names, b"x" * 100)}, gated=True)
        repo.tagged["v1"] = repo.commit
        repo.push({"new-Q2_K.gguf": b"y"})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="", HF_HOME=str(tmp_path / "hf"))
            told = rbee.json("files", "acme/tiny@v1")
            assert [(each["quantization"], each["size_bytes"]) for each in told["choices"]] == [
                ("Q4_K_M", 200),
                ("Q8_0", 300),
            ]
            assert told["summary"].startswith("A model that recites one sentence and nothing else")
            assert (told["license"], told["gate"]) == ("apache-2.0", "auto")
            assert [each["name"] for each in told["revisions"]] == ["main", "v1"]
            assert len(rbee.json("files", "acme/tiny")["choices"]) == 3
            code, out, err = rbee.ended("files", "acme/tiny")
            assert code == 0
            assert "with mmproj-F16.gguf" in out
            assert "\x1b" not in out
            assert "ask for access on the page of acme/tiny" in err
            assert "rbee token set" in err
            assert "nothing else" in rbee.run("files", "acme/tiny", "--card")
            assert sum(hub.bytes_sent(f"acme/tiny/{name}") for name in names) == 0

    def test_a_repository_that_no_worker_serves(self, tmp_path: Path):
        """It is one choice, and that is said."""
        repo = DemoRepo("acme/st", {"model.safetensors": b"x" * 100, "config.json": b"{}"})
        with DemoHub([repo]) as hub:
            rbee = Command(tmp_path / "home", hub.url, HF_TOKEN="")
            assert "(safetensors: no worker here serves it)" in rbee.run("files", "acme/st")
            assert len(rbee.json("files", "acme/st")["choices"]) == 1
