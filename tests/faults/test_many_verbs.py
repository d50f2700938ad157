"""Many processes, mixed verbs, one root: every acknowledged change is there, no byte is downloaded twice."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.e2e.support import Rbee

PROCESSES = 16
MODELS = 4


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A few real models of different words."""
    made = {}
    for number in range(MODELS):
        path = tmp_path / f"model-{number}.gguf"
        tiny.write(path, say=f"words of model number {number}")
        made[path.name] = path.read_bytes()
    return made


class Hand:
    """One of many who work on a root at once: verbs chosen by chance, and what it made and kept."""

    VERBS = ("pull", "take_up", "register", "drop", "models", "jobs", "verify")

    def __init__(self, rbee: Rbee, place: Path, number: int) -> None:
        self.rbee = rbee
        self.place = place
        self.number = number
        self.chance = random.Random(number)
        self.models: set[str] = set()
        self.workers: set[str] = set()

    def work(self, rounds: int) -> "Hand":
        """So many verbs, each a process that must succeed."""
        for turn in range(rounds):
            verb = self.chance.choice(self.VERBS)
            getattr(self, f"_{verb}")(f"mine-{self.number}-{turn}")
        return self

    def _pull(self, name: str) -> None:
        self.rbee.run("pull", f"acme/models:model-{self.chance.randrange(MODELS)}.gguf")

    def _take_up(self, name: str) -> None:
        self.rbee.run("models", "import", str(self.place / "local.gguf"), "--id", name)
        self.models.add(name)

    def _register(self, name: str) -> None:
        self.rbee.run("workers", "register", str(self.place / "llama-server"), "--id", name)
        self.workers.add(name)

    def _drop(self, name: str) -> None:
        noun, mine = self.chance.choice((("models", self.models), ("workers", self.workers)))
        if mine:
            self.rbee.run(noun, "remove", mine.pop(), "--yes")

    def _models(self, name: str) -> None:
        self.rbee.json("models", "list")

    def _jobs(self, name: str) -> None:
        self.rbee.json("jobs")

    def _verify(self, name: str) -> None:
        for one in list(self.models)[:1]:
            self.rbee.run("models", "verify", one)


def mine(entries: list[dict]) -> dict[str, str]:
    """The health of what the hands made, by id."""
    return {entry["id"]: entry["health"] for entry in entries if entry["id"].startswith("mine-")}


def test_no_acknowledged_change_is_lost(
    files: dict[str, bytes], tmp_path: Path, request: pytest.FixtureRequest
):
    """Pulls, imports, registrations, listings, verifications and removals, all at once."""
    rounds = request.config.getoption("--rounds") or 3
    (tmp_path / "local.gguf").write_bytes(files["model-0.gguf"])
    server = tmp_path / "llama-server"
    server.write_text("#!/bin/sh\necho 'version: 5000 (abcdef)'\n")
    server.chmod(0o755)
    with DemoHub([DemoRepo("acme/models", files)]) as hub:
        rbee = Rbee(tmp_path / "rbee", hub.url)
        hands = [Hand(rbee, tmp_path, number) for number in range(PROCESSES)]
        with ThreadPoolExecutor(PROCESSES) as pool:
            list(pool.map(lambda hand: hand.work(rounds), hands))
        models, workers = rbee.json("models", "list"), rbee.json("workers", "list")
        assert {entry["health"] for entry in models} <= {"ok"}
        assert mine(models) == dict.fromkeys(set().union(*(hand.models for hand in hands)), "ok")
        assert mine(workers) == dict.fromkeys(set().union(*(hand.workers for hand in hands)), "ok")
        for name, data in files.items():
            sent = hub.bytes_sent(f"acme/models/{name}")
            # Once: what the Hub sent before it heard that another connection has that part comes twice.
            assert sent == 0 or len(data) <= sent < 2 * len(data)
        assert [job["state"] for job in rbee.json("jobs") if job["state"] != "done"] == []
        assert list((rbee.home / "tmp").iterdir()) == []
