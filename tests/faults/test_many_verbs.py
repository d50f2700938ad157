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


def test_no_acknowledged_change_is_lost(
    files: dict[str, bytes], tmp_path: Path, request: pytest.FixtureRequest
):
    """Pulls, imports, listings, verifications, registrations and removals, all at once."""
    rounds = request.config.getoption("--rounds") or 3
    with DemoHub([DemoRepo("acme/models", files)]) as hub:
        rbee = Rbee(tmp_path / "rbee", hub.url)
        local = tmp_path / "local.gguf"
        local.write_bytes(files["model-0.gguf"])

        def one_process(number: int) -> set[str]:
            chance = random.Random(number)
            mine: set[str] = set()
            for turn in range(rounds):
                name = f"mine-{number}-{turn}"
                verb = chance.choice(("pull", "import", "drop", "list", "verify"))
                if verb == "pull":
                    rbee.run("pull", f"acme/models:model-{chance.randrange(MODELS)}.gguf")
                elif verb == "import":
                    rbee.run("models", "import", str(local), "--id", name)
                    mine.add(name)
                elif verb == "drop" and mine:
                    gone = mine.pop()
                    rbee.run("models", "remove", gone, "--yes")
                elif verb == "verify" and mine:
                    rbee.run("models", "verify", next(iter(mine)))
                else:
                    rbee.json("models", "list")
            return mine

        with ThreadPoolExecutor(PROCESSES) as pool:
            kept = set().union(*pool.map(one_process, range(PROCESSES)))
        listed = {entry["id"]: entry["health"] for entry in rbee.json("models", "list")}
        assert set(listed.values()) <= {"ok"}
        assert {name for name in listed if name.startswith("mine-")} == kept
        for name, data in files.items():
            assert hub.bytes_sent(f"acme/models/{name}") in (0, len(data))
        assert [job["state"] for job in rbee.json("jobs") if job["state"] != "done"] == []
        assert list((rbee.home / "tmp").iterdir()) == []
