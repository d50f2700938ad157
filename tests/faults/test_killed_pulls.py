"""`kill -9` at random times: a pull goes on where it was, and the file is right."""

import hashlib
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from tests.e2e.support import Rbee, wait_for

BLOCK = 8 << 20
STREAM = 4 << 20
"""What a killed stream may fetch again here: the piece that is not noted yet, and what was on its way.

Half of what is promised: 0.7 to 1.8 MiB on a machine at rest, up to 3.5 on a busy one; without journals it is
5.4 to 12.
"""
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
            kills, is_here = 0, False
            for _ in range(rounds):
                pull = rbee.start("pull", "acme/big:big.gguf")
                before = hub.bytes_sent("acme/big/big.gguf")
                step = random.Random(kills).randrange(1 << 20, 10 << 20)
                wait_for(
                    lambda before=before, step=step, pull=pull: (
                        hub.bytes_sent("acme/big/big.gguf") - before >= step or pull.poll() is not None
                    )
                )
                if is_here := pull.poll() is not None:
                    pull.communicate()
                    break
                pull.send_signal(signal.SIGKILL)
                pull.communicate()
                kills += 1
            hub.rate = None
            last = rbee.start("pull", "acme/big:big.gguf", "--json")
            out, said = last.communicate(timeout=60)
            assert last.returncode == 0, said
            assert ("here already" if is_here else "kept") in said
            assert json.loads(out)
            (entry,) = rbee.json("models", "list")
            published = rbee.home / "models" / "big" / "big.gguf"
            assert hashlib.sha256(published.read_bytes()).hexdigest() == hashlib.sha256(data).hexdigest()
            assert entry["health"] == "ok"
            assert kills >= min(rounds, 4)
            assert hub.bytes_sent("acme/big/big.gguf") <= len(data) + kills * BLOCK
            assert list((rbee.home / "tmp").iterdir()) == []


class TestKilledRepositories:
    """Twelve files, several of them at once, each over several connections."""

    @pytest.mark.timeout(0)
    def test_no_stream_fetches_much_again(self, tmp_path: Path, request: pytest.FixtureRequest):
        """Every file is right in the end; the bytes are counted at the server, the streams at each kill."""
        left, turn = request.config.getoption("--rounds") or 4, 0
        while left > 0:
            turn += 1
            again, allowed, kills = self.one_pull(tmp_path / str(turn), min(left, 4), turn)
            assert again <= allowed
            left -= max(1, kills)

    def test_without_the_journals_it_is_more(self, tmp_path: Path):
        """The mutant: where each kill takes the journals with it, the count shows it."""

        def lose(home: Path) -> None:
            for journal in (home / "tmp").glob("*.journal"):
                journal.unlink()

        again, allowed, _ = self.one_pull(tmp_path, 4, 1, lose)
        assert again > allowed

    def one_pull(
        self, home: Path, kills: int, seed: int, then: Callable[[Path], None] = lambda _: None
    ) -> tuple[int, int, int]:
        """Pull twelve files, killed at random times: bytes sent again, bytes allowed, kills."""
        dice, data = random.Random(seed), noise(40 << 20)
        names = [f"model-{n:05d}-of-00012.safetensors" for n in range(1, 13)]
        repo = DemoRepo("acme/many", dict.fromkeys(names, data), tags=["safetensors"])
        with DemoHub([repo], rate=120 << 20) as hub:
            rbee, store = Rbee(home, hub.url), JobStore(Root(home).prepare())

            def sent() -> int:
                return sum(hub.bytes_sent(f"acme/many/{name}") for name in names)

            done = streams = 0
            while done < kills:
                pull = rbee.start("pull", "acme/many")
                until = sent() + dice.randrange(60 << 20, 100 << 20)
                wait_for(lambda until=until, pull=pull: sent() >= until or pull.poll() is not None)
                if pull.poll() is not None:
                    pull.communicate()
                    break
                pull.send_signal(signal.SIGKILL)
                pull.communicate()
                done += 1
                # The runner's note is half a second old at most.
                run = store.read_run(store.list()[-1].id)
                streams += run.connections if run else 0
                then(home)
            hub.rate = None
            last = rbee.start("pull", "acme/many", "--json")
            _, said = last.communicate(timeout=60)
            assert last.returncode == 0, said
            (entry,) = rbee.json("models", "list")
            for name in names:
                assert (home / "models" / entry["id"] / name).read_bytes() == data
            assert list((home / "tmp").iterdir()) == []
            return sent() - len(data) * len(names), streams * STREAM, done
