"""Downloads by the plain verbs: side by side, steered, refused, resumed."""

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import repos, tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo, Fault
from tests.e2e.support import Rbee, wait_for

BIG = random.Random(3).randbytes(24 << 20)
NAME = "acme/big/big.gguf"


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """A Hub with a file of 24 MiB, and the demo's repositories."""
    sharded = {f"m-Q8_0-0000{n}-of-00002.gguf": tiny.build(f"shard {n}") for n in (1, 2)}
    mine = [DemoRepo("acme/big", {"big.gguf": BIG}), DemoRepo("acme/shards", sharded)]
    with DemoHub([*mine, *repos.demo_repos()]) as served:
        yield served


@pytest.fixture
def rbee(tmp_path: Path, hub: DemoHub) -> Rbee:
    """An rbee on an empty root."""
    return Rbee(tmp_path / "rbee", hub.url)


def job(rbee: Rbee) -> dict:
    """The one job."""
    (found,) = rbee.json("jobs")
    return found


def moving(rbee: Rbee) -> dict:
    """The one job, once bytes of it are here."""
    return wait_for(lambda: (jobs := rbee.json("jobs")) and jobs[0]["downloaded"] > 0 and jobs[0])


class TestPull:
    """The main way."""

    def test_it_brings_and_lists_a_verified_model(self, rbee: Rbee):
        """With what its header says."""
        rbee.run("pull", repos.REPO)
        (entry,) = rbee.json("models", "list")
        model = entry["artifact"]
        assert (entry["health"], model["status"], model["architecture"]) == ("ok", "Available", "llama")
        published = rbee.home / "models" / entry["id"] / model["files"][0]["path"]
        assert published.read_bytes() == tiny.build()
        assert (published.stat().st_mode & 0o777, published.parent.stat().st_mode & 0o777) == (0o644, 0o755)
        assert list((rbee.home / "tmp").iterdir()) == []

    def test_what_is_here_is_not_brought_again(self, rbee: Rbee, hub: DemoHub):
        """The second pull succeeds without a byte."""
        rbee.run("pull", "acme/big")
        sent = hub.bytes_sent(NAME)
        rbee.run("pull", "acme/big")
        assert hub.bytes_sent(NAME) == sent

    def test_two_at_once_are_one_download(self, rbee: Rbee, hub: DemoHub):
        """One downloads, the other follows, both succeed."""
        hub.rate = 20 << 20
        both = [rbee.start("pull", "acme/big"), rbee.start("pull", "acme/big")]
        for process in both:
            _, said = process.communicate(timeout=60)
            assert process.returncode == 0, said
        # An idle connection relieves another: what the server had on the way by then is counted twice.
        assert hub.bytes_sent(NAME) < 1.5 * len(BIG)
        assert len(rbee.json("jobs")) == 1

    def test_shards_come_as_one_model(self, rbee: Rbee):
        """Two files, one entry."""
        rbee.run("pull", "acme/shards:Q8_0")
        (entry,) = rbee.json("models", "list")
        assert len(entry["artifact"]["files"]) == 2

    def test_a_damaged_model_is_mended_by_pulling_again(self, rbee: Rbee, hub: DemoHub):
        """A flipped bit is found by verify, and pull brings the right bytes."""
        rbee.run("pull", "acme/big")
        path = rbee.home / "models" / "big" / "big.gguf"
        data = bytearray(path.read_bytes())
        data[5_000_000] ^= 1
        path.write_bytes(data)
        rbee.run("models", "verify", "big", code=8)
        rbee.run("pull", "acme/big")
        assert path.read_bytes() == BIG
        rbee.run("models", "verify", "big")

    def test_a_file_taken_away_is_brought_again(self, rbee: Rbee):
        """Missing, then whole."""
        rbee.run("pull", "acme/big")
        (rbee.home / "models" / "big" / "big.gguf").unlink()
        rbee.run("pull", "acme/big")
        assert rbee.json("models", "list")[0]["health"] == "ok"


class TestSteering:
    """From another process."""

    def test_pause_and_resume(self, rbee: Rbee, hub: DemoHub):
        """Pause ends its pull with 10; resume goes on in the foreground, without fetching again."""
        hub.rate = 2 << 20
        pull = rbee.start("pull", "acme/big")
        found = moving(rbee)
        rbee.run("pause", found["id"])
        _, said = pull.communicate(timeout=30)
        assert pull.returncode == 10, said
        assert job(rbee)["state"] == "paused"
        hub.rate = None
        rbee.run("resume", found["id"])
        assert job(rbee)["state"] == "done"
        assert hub.bytes_sent(NAME) <= len(BIG) + (8 << 20)
        assert (rbee.home / "models" / "big" / "big.gguf").read_bytes() == BIG

    def test_cancel_takes_everything_away(self, rbee: Rbee, hub: DemoHub):
        """Pull ends with 11; neither parts nor an entry are left."""
        hub.rate = 2 << 20
        pull = rbee.start("pull", "acme/big")
        rbee.run("cancel", moving(rbee)["id"])
        _, said = pull.communicate(timeout=30)
        assert pull.returncode == 11, said
        assert rbee.json("models", "list") == []
        assert list((rbee.home / "tmp").iterdir()) == []

    def test_ctrl_c_pauses(self, rbee: Rbee, hub: DemoHub):
        """And says how to go on."""
        hub.rate = 2 << 20
        pull = rbee.start("pull", "acme/big")
        moving(rbee)
        pull.send_signal(signal.SIGINT)
        _, said = pull.communicate(timeout=30)
        assert pull.returncode == 130
        assert "rbee resume" in said
        assert job(rbee)["state"] == "paused"

    def test_a_killed_pull_is_taken_up_in_the_background(self, rbee: Rbee, hub: DemoHub):
        """The runner without a screen finishes it and goes."""
        hub.rate = 12 << 20
        pull = rbee.start("pull", "acme/big")
        moving(rbee)
        pull.kill()
        pull.communicate()
        assert job(rbee)["state"] == "interrupted"
        hub.rate = None
        rbee.run("hive", "--no-listen", "--until-idle")
        assert job(rbee)["state"] == "done"

    def test_detached_it_goes_on_alone(self, rbee: Rbee, hub: DemoHub):
        """The command returns, a runner works."""
        hub.rate = 12 << 20
        rbee.run("pull", "--detach", "acme/big")
        wait_for(lambda: job(rbee)["state"] == "done", 40)
        assert rbee.json("models", "list")[0]["health"] == "ok"

    def test_detached_while_another_pulls(self, rbee: Rbee, hub: DemoHub):
        """Who is really at it is said, and who goes on should that end."""
        hub.rate = 1 << 20
        pull = rbee.start("pull", "acme/big")
        moving(rbee)
        detached = rbee.start("pull", "--detach", "acme/big", "--json")
        out, said = detached.communicate(timeout=30)
        assert f"pid {pull.pid} (rbee pull) is at it already" in said
        assert "(background runner) goes on with it should that end" in said
        assert json.loads(out)["holder"] == pull.pid
        pull.kill()
        pull.communicate()
        hub.rate = None
        wait_for(lambda: job(rbee)["state"] == "done", 40)


class TestRefusals:
    """One clear sentence each, and its own exit code."""

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (("pull", f"{repos.OWNER}/gated-gguf"), 6, "is gated"),
            (("pull", "no/such"), 6, "or it is private"),
            (("pull", "acme/big:nope.gguf"), 3, "has no 'nope.gguf'"),
            (("pull", "acme/big", "--revision", "nope"), 3, "has no revision"),
            (("pull", "../etc"), 2, "is not REPO[:FILE]"),
            (("start", "nope"), 3, "nope"),
            (("cancel", "ffffffff"), 3, "there is no job"),
        ],
    )
    def test_refusal(self, rbee: Rbee, words: tuple[str, ...], code: int, said: str):
        """It says what was wrong."""
        process = rbee.start(*words)
        _, text = process.communicate(timeout=60)
        assert (process.returncode, said in text, "Traceback" in text) == (code, True, False), text

    def test_nobody_there(self, tmp_path: Path):
        """No network: the host is named."""
        process = Rbee(tmp_path / "rbee", "http://127.0.0.1:9").start("pull", "acme/big", "--json")
        _, text = process.communicate(timeout=60)
        assert process.returncode == 5
        assert "127.0.0.1:9" in json.loads(text.splitlines()[-1])["message"]

    def test_wrong_bytes_are_never_published(self, tmp_path: Path):
        """A storage that flips a bit each time: no file, code 8."""
        with DemoHub(
            [DemoRepo("acme/big", {"big.gguf": BIG})], fault=lambda seen: Fault(flip=1000)
        ) as served:
            rbee = Rbee(tmp_path / "rbee", served.url)
            rbee.run("pull", "acme/big", code=8)
            assert not (rbee.home / "models" / "big" / "big.gguf").exists()
            assert job(rbee)["state"] == "failed"
            served.fault = None
            rbee.run("retry", job(rbee)["id"])
            assert (rbee.home / "models" / "big" / "big.gguf").read_bytes() == BIG
