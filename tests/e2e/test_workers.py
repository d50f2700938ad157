"""A real worker by the plain verbs: installed, started, asked, found again, stopped."""

import os
import shutil
import signal
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rbee_tui.demo import tiny
from tests.e2e.support import Rbee, wait_for

SAY = "A worker that is real says exactly this."


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a worker, installed from the package index, and a tiny model."""
    home = tmp_path_factory.mktemp("worker") / "rbee"
    rbee = Rbee(home)
    rbee.run("workers", "install", "llm-worker-cpu")
    model = tiny.write(home.parent / "tiny.gguf", SAY).path
    rbee.run("models", "import", str(model), "--id", "tiny")
    return home


@pytest.fixture
def rbee(installed: Path) -> Iterator[Rbee]:
    """The commands on that root; no worker is left running."""
    commands = Rbee(installed)
    yield commands
    commands.run("stop", "--all")


def answers(url: str) -> int | None:
    """The status of a page; None when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


@pytest.mark.network
class TestWorker:
    """From start to stop."""

    def test_it_is_listed_with_its_devices(self, rbee: Rbee):
        """As the runtime itself tells them."""
        entry = next(e for e in rbee.json("workers", "list") if e["id"] == "llm-worker-cpu")
        assert entry["health"] == "ok"
        assert any("CPU" in device for device in entry["artifact"]["devices"])

    def test_it_answers_exactly(self, rbee: Rbee):
        """Ready when start returns; the key is needed; the words are the model's."""
        started = rbee.json("start", "tiny")
        assert started["state"] == "ready"
        assert rbee.run("prompt", "tiny", "anything").strip() == SAY
        assert answers(f"{started['url']}/v1/models") == 401
        (running,) = rbee.json("ps")
        assert (running["pid"], running["memory_bytes"] > 0) == (started["pid"], True)
        rbee.run("stop", "tiny")
        assert rbee.json("ps") == []
        assert answers(f"{started['url']}/health") is None

    def test_a_second_start_follows(self, rbee: Rbee):
        """Two at once are one worker."""
        both = [rbee.start("start", "tiny"), rbee.start("start", "tiny")]
        outputs = [process.communicate(timeout=60) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert outputs[0][0] == outputs[1][0]
        assert len(rbee.json("ps")) == 1

    def test_port_and_key_stay(self, rbee: Rbee):
        """Clients are configured with them."""
        first = rbee.json("start", "tiny")
        rbee.run("stop", "tiny")
        second = rbee.json("start", "tiny")
        assert (first["url"], first["api_key"]) == (second["url"], second["api_key"])

    def test_the_key_is_secret(self, rbee: Rbee):
        """In a file of mode 600, in no argument of any process."""
        key = rbee.json("start", "tiny")["api_key"]
        path = rbee.home / "state" / "running" / "tiny.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert key.encode() not in process.read_bytes()
            except OSError:
                continue

    def test_it_survives_the_command(self, rbee: Rbee):
        """kill -9 of the command that started it: the next ps shows it, stop stops it."""
        start = rbee.start("start", "tiny")
        (running,) = wait_for(lambda: rbee.json("ps"))
        start.kill()
        start.communicate()
        assert [each["pid"] for each in rbee.json("ps")] == [running["pid"]]
        rbee.run("stop", "tiny")
        assert rbee.json("ps") == []

    def test_a_killed_worker_leaves_nothing(self, rbee: Rbee):
        """Its keeper killed, the runtime ends with it, and ps no longer lists it."""
        started = rbee.json("start", "tiny")
        os.kill(started["pid"], signal.SIGKILL)
        wait_for(lambda: answers(f"{started['url']}/health") is None)
        assert rbee.json("ps") == []

    def test_how_a_killed_one_ended_is_said(self, rbee: Rbee):
        """To whoever asks it next; after a stop there is nothing to say."""
        running = rbee.json("start", "tiny", "--no-restart")
        (runtime,) = psutil.Process(running["pid"]).children()
        runtime.kill()
        wait_for(lambda: rbee.json("ps") == [])
        for words in (("prompt", "tiny", "hello"), ("stop", "tiny")):
            process = rbee.start(*words)
            _, said = process.communicate(timeout=60)
            assert process.returncode == 3
            assert "no worker runs on tiny; the last one is gone: it was ended by SIGKILL" in said
        rbee.run("start", "tiny")
        rbee.run("stop", "tiny")
        process = rbee.start("prompt", "tiny", "hello")
        assert "the last one" not in process.communicate(timeout=60)[1]

    def test_wishes_for_one_that_runs_are_answered(self, rbee: Rbee):
        """It is not started anew, and that is said."""
        rbee.run("start", "tiny")
        process = rbee.start("start", "tiny", "--context", "256")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "rbee stop tiny first to change that" in said
        rbee.run("stop", "tiny")

    def test_a_busy_port_is_said(self, rbee: Rbee):
        """And never changed silently."""
        import socket  # noqa: PLC0415 - this test alone

        port = rbee.json("start", "tiny")["port"]
        rbee.run("stop", "tiny")
        with socket.create_server(("127.0.0.1", port)):
            process = rbee.start("start", "tiny")
            _, said = process.communicate(timeout=60)
        assert process.returncode == 4
        assert str(port) in said

    def test_a_broken_model_shows_the_log(self, rbee: Rbee, tmp_path: Path):
        """The worker fails with the end of its log, and nothing is left running."""
        data = tiny.build()
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(data.replace(b"llama", b"llamx"))
        rbee.run("models", "import", str(broken), "--id", "broken")
        process = rbee.start("start", "broken")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 9
        assert "  | " in said
        assert "the model cannot be loaded: unknown model architecture: 'llamx'" in said
        assert rbee.json("ps") == []
        rbee.run("models", "remove", "broken", "--yes")

    def test_copied_trees_work_elsewhere(self, rbee: Rbee, tmp_path: Path):
        """As scp -r brings models/ and workers/ to another root."""
        there = Rbee(tmp_path / "there")
        for name in ("models", "workers"):
            shutil.copytree(rbee.home / name, there.home / name, symlinks=True)
        there.run("start", "tiny")
        assert there.run("prompt", "tiny", "hello").strip() == SAY
        there.run("stop", "--all")

    def test_what_runs_is_not_removed(self, rbee: Rbee):
        """Neither the model nor the worker; how to end that is said."""
        worker = rbee.json("start", "tiny")["worker"]
        for words in (("models", "remove", "tiny"), ("workers", "remove", worker)):
            process = rbee.start(*words, "--yes")
            _, said = process.communicate(timeout=60)
            assert process.returncode == 4, said
            assert "rbee stop tiny" in said
        rbee.run("stop", "tiny")
        assert "tiny" in {entry["id"] for entry in rbee.json("models", "list")}

    def test_stopping_what_does_not_run_is_said(self, rbee: Rbee):
        """By its name."""
        process = rbee.start("stop", "tiny")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 3
        assert "tiny" in said
