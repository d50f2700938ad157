"""The verbs that steer downloads: the queue's order, the cap, partial files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.cli.jobs import rate_of
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.errors import UsageError
from tests.cli.support import Command
from tests.engine.transfer.server import wait_until


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """With a file that takes a while."""
    with DemoHub([DemoRepo("acme/big", {"big.gguf": bytes(4_000_000)})], rate=400_000) as served:
        yield served


@pytest.fixture
def rbee(tmp_path: Path, hub: DemoHub) -> Command:
    """The command on a root of its own."""
    return Command(tmp_path / "rbee", hub.url)


class TestRates:
    @pytest.mark.parametrize(
        ("text", "rate"),
        [("20MB/s", 20_000_000), ("500k", 500_000), ("1.5 MiB/s", 1_572_864), ("1000", 1000), ("off", None)],
    )
    def test_words(self, text: str, rate: int | None) -> None:
        """Decimal and binary units, with or without `B/s`."""
        assert rate_of(text) == rate

    @pytest.mark.parametrize("text", ["", "fast", "-3", "1e9", "5 MB/min", "\x1b[31m"])
    def test_what_is_none(self, text: str) -> None:
        """Anything else is refused."""
        with pytest.raises(UsageError, match="is not a rate"):
            rate_of(text)

    @pytest.mark.parametrize("text", ["0", "999", "0.5kB/s"])
    def test_one_that_would_never_end(self, text: str) -> None:
        """Said before anything is settled, with the least that may be."""
        with pytest.raises(UsageError, match="would never end") as caught:
            rate_of(text)
        assert "1kB/s" in caught.value.hint


class TestCap:
    def test_set_shown_lifted(self, rbee: Command) -> None:
        """It stays until it is lifted."""
        assert rbee.run("jobs", "cap") == "off\n"
        assert rbee.run("jobs", "cap", "20MB/s") == "20.0 MB/s\n"
        assert rbee.json("jobs", "cap") == {"cap": 20_000_000}
        assert rbee.run("jobs", "cap", "off") == "off\n"
        rbee.fails("jobs", "cap", "soon", code=2, saying="is not a rate")


class TestSteering:
    def test_a_download_from_outside(self, rbee: Command) -> None:
        """Shown by file, moved, cancelled with its partial kept, listed, purged."""
        with rbee.start("pull", "acme/big", "--gentle") as pull:
            wait_until(lambda: any(job["downloaded"] for job in rbee.json("jobs")))
            (job,) = rbee.json("jobs")
            assert job["gentle"]
            shown = rbee.run("jobs", "show", job["id"])
            assert "big.gguf" in shown
            assert rbee.json("jobs", "top", job["id"])["id"] == job["id"]
            rbee.fails("jobs", "purge", code=2, saying="or --all")
            rbee.run("cancel", job["id"], "--keep")
            pull.communicate(timeout=30)
            assert pull.returncode == 11
        (kept,) = rbee.json("jobs", "partials")
        assert kept["purgeable"]
        assert kept["name"] in rbee.run("jobs", "partials")
        rbee.fails("jobs", "purge", "--all", code=2, saying="There is no terminal to ask on")
        purged = rbee.json("jobs", "purge", "--all", "--yes")
        assert purged == {"names": [kept["name"]], "freed_bytes": kept["held_bytes"]}
        assert rbee.json("jobs", "partials") == []


class TestRepair:
    def test_a_damaged_model(self, rbee: Command, hub: DemoHub) -> None:
        """Verify says what to do, repair what it fetches; verify shows when it was whole."""
        hub.rate = None
        rbee.run("pull", "acme/big")
        path = rbee.home / "models" / "big" / "big.gguf"
        path.write_bytes(b"x" + path.read_bytes()[1:])
        code, _, said = rbee.ended("models", "verify", "big")
        assert (code, "rbee models repair" in said) == (8, True)
        _, _, said = rbee.ended("models", "repair", "big")
        assert "big.gguf: 1 of 1 blocks are to be fetched" in said
        code, _, said = rbee.ended("models", "verify", "--all", "--idle")
        assert code == 0
        assert "big is whole (last verified 20" in said
        assert rbee.json("models", "repair", "big") == {"id": "big", "job_id": None, "files": []}
