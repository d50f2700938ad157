"""`kill -9` at random times: a pull goes on where it was, and the file is right."""

import hashlib
import json
import random
import signal
from pathlib import Path

import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.e2e.support import Rbee, wait_for

BLOCK = 8 << 20
RATE = 40 << 20


def noise(size: int) -> bytes:
    """Bytes without a pattern, the same in each run."""
    return random.Random(7).randbytes(size)


class TestKilledPulls:
    """The journal keeps what was received."""

    def test_a_killed_pull_goes_on(self, tmp_path: Path, request: pytest.FixtureRequest):
        """However often it is killed, at most a block for each kill is sent again."""
        rounds = request.config.getoption("--rounds") or 6
        data = noise(64 << 20)
        with DemoHub([DemoRepo("acme/big", {"big.gguf": data})], rate=RATE) as hub:
            rbee = Rbee(tmp_path / "rbee", hub.url)
            kills = 0
            for _ in range(rounds):
                pull = rbee.start("pull", "acme/big:big.gguf")
                before = hub.bytes_sent("acme/big/big.gguf")
                step = random.Random(kills).randrange(1 << 20, 10 << 20)
                wait_for(
                    lambda before=before, step=step, pull=pull: (
                        hub.bytes_sent("acme/big/big.gguf") - before >= step or pull.poll() is not None
                    )
                )
                if pull.poll() is not None:
                    break
                pull.send_signal(signal.SIGKILL)
                pull.communicate()
                kills += 1
            hub.rate = None
            last = rbee.start("pull", "acme/big:big.gguf", "--json")
            out, said = last.communicate(timeout=60)
            assert last.returncode == 0, said
            assert "kept" in said
            assert json.loads(out)
            (entry,) = rbee.json("models", "list")
            published = rbee.home / "models" / "big" / "big.gguf"
            assert hashlib.sha256(published.read_bytes()).hexdigest() == hashlib.sha256(data).hexdigest()
            assert entry["health"] == "ok"
            assert kills >= min(rounds, 4)
            assert hub.bytes_sent("acme/big/big.gguf") <= len(data) + kills * BLOCK
            assert list((rbee.home / "tmp").iterdir()) == []
