"""`rbee start` where it fails, where it is interrupted, and how long a worker stays."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.engine.paths import Root
from tests.cli.support import Command
from tests.engine.workers.failing import FAILURES, failing
from tests.engine.workers.support import House, add_fake, add_model, end_all, of_root, wait_for


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file that recites a sentence."""
    from rbee_tui.demo import tiny  # noqa: PLC0415 - this fixture alone

    return tiny.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf", "A real worker says this.").path


@pytest.fixture
def house(root: Root, tiny_model: Path, tmp_path: Path) -> Iterator[House]:
    """A root with the tiny model and the stand-in."""
    made = House(root)
    add_model(made, tiny_model)
    add_fake(made, tmp_path)
    yield made
    end_all(root)


class TestFailures:
    """Each has a text, an error code and an exit code of its own."""

    @pytest.mark.root
    @pytest.mark.parametrize("how", FAILURES)
    def test_each_is_said(self, root: Root, tmp_path: Path, monkeypatch, how: str):
        """As a sentence with what to do, and as JSON; nothing is left running."""
        error, code, *words = FAILURES[how]
        wish = ["--context", "100000000"] if how == "big" else []
        with failing(how, root, tmp_path, monkeypatch):
            command = Command(root.path)
            said = command.fails("start", "tiny", *wish, code=code, saying=words[0])
            assert all(each in said for each in words)
            assert "\n  -> " in said
            ended, out, err = command.ended("start", "tiny", *wish, "--json")
        assert (ended, out) == (code, "")
        told = json.loads(err)
        assert told["error"] == error
        assert all(each in told["message"] for each in words)
        assert told["hint"]
        assert of_root(root) == []
        if "death" in told:
            assert told["death"]["cause"] in ("broken_model", "cpu_feature")
            (death,) = command.json("ps", "--dead")
            assert death["sentence"] in told["message"]
            assert death["sentence"] in command.run("ps", "--dead")


class TestInterrupted:
    """A start that is not waited for to its end."""

    def test_ctrl_c_ends_it(self, house: House):
        """What was loading is gone with it."""
        with Command(house.root.path, FAKE_MODE="never").start("start", "tiny") as start:
            wait_for(lambda: [each for each in house.supervisor.list() if each.state == "loading"])
            start.send_signal(signal.SIGINT)
            _, err = start.communicate(timeout=60)
        assert start.returncode == 130
        assert "ending the start of tiny" in err
        assert of_root(house.root) == []

    def test_a_hang_up_does_not(self, house: House):
        """It goes on loading, for whoever looks next."""
        with Command(house.root.path, FAKE_MODE="never").start("start", "tiny") as start:
            wait_for(lambda: [each for each in house.supervisor.list() if each.state == "loading"])
            start.send_signal(signal.SIGHUP)
            start.communicate(timeout=60)
        assert [each.state for each in house.supervisor.list()] == ["loading"]


class TestRetry:
    """What would fit is asked for on a terminal."""

    def test_a_yes_starts_it(self, house: House):
        """With the smaller context."""
        mine, its = pty.openpty()
        command = Command(house.root.path)
        with command.start(
            "start", "tiny", "--context", "100000000", stdin=its, stderr=its, stdout=subprocess.PIPE
        ) as start:
            os.close(its)
            said = b""
            while b"[y/N]" not in said:
                said += os.read(mine, 4096)
            os.write(mine, b"y\n")
            out, _ = start.communicate(timeout=60)
        os.close(mine)
        assert b"which would fit?" in said
        assert start.returncode == 0
        assert out.startswith("http://127.0.0.1:")
        assert house.supervisor.get("tiny").context == 4096


class TestStaying:
    """How long it stays, by verbs."""

    def test_pin_and_idle(self, house: House):
        """As it was asked for, and changed while it runs."""
        command = Command(house.root.path)
        started = command.json("start", "tiny", "--idle", "30m", "--pin")
        assert (started["idle_seconds"], started["pinned"]) == (1800, True)
        assert not command.json("pin", "tiny", "--off")["pinned"]
        assert command.run("pin", "tiny") == "tiny\n"
        command.fails("start", "tiny", "--idle", "soon", code=2, saying="'soon' is not a time")

    def test_settings(self, house: House):
        """Listed, changed, and refused with what there is."""
        command = Command(house.root.path)
        assert command.run("settings", "set", "idle", "2h") == "2h\n"
        command.run("settings", "set", "workers-on-quit", "stop")
        found = {each["id"]: each["value"] for each in command.json("settings")}
        assert found == {"downloads-on-quit": "ask", "workers-on-quit": "stop", "idle": 7200}
        command.fails("settings", "set", "workers-on-quit", "maybe", code=2, saying="cannot be 'maybe'")
        command.fails("settings", "set", "colour", "red", code=3, saying="there is no setting 'colour'")
        assert "2h" in command.run("settings")


class TestOptions:
    """What is decided, what is said, and what is saved."""

    def test_explain_starts_nothing(self, house: House):
        """Each worker with each probe; the same as JSON."""
        command = Command(house.root.path)
        said = command.run("start", "tiny", "--explain")
        assert all(each in said for each in ("fake: it runs on the CPU", "platform", "4,096 tokens", "slots"))
        told = command.json("start", "tiny", "--explain", "--threads", "5")
        assert (told["worker_id"], told["threads"], told["device"]) == ("fake", 5, "CPU")
        taken = next(each for each in told["verdicts"] if each["taken"])
        assert [each["name"] for each in taken["probes"]] == ["health", "kind", "platform", "memory"]
        assert of_root(house.root) == []

    def test_presets(self, house: House):
        """Saved, listed, used, gone before by what is said, forgotten."""
        command = Command(house.root.path)
        first = command.json("start", "tiny", "--context", "512", "--slots", "2", "--idle", "30m", "--save")
        assert (first["context"], first["slots"]) == (512, 2)
        command.run("stop", "tiny")
        assert command.json("presets") == [{"id": "tiny", "context": 512, "idle_seconds": 1800, "slots": 2}]
        assert "--context 512 --slots 2 --idle 30m" in command.run("presets")
        second = command.json("start", "tiny", "--context", "1024")
        assert (second["context"], second["slots"]) == (1024, 2)
        command.run("stop", "tiny")
        command.run("presets", "forget", "tiny")
        assert command.json("presets") == []
        command.fails("presets", "forget", "tiny", code=3, saying="there is no model with presets 'tiny'")

    def test_another_address(self, house: House):
        """What that opens is said; what cannot be one is refused, with what there is."""
        command = Command(house.root.path)
        code, url, said = command.ended("start", "tiny", "--host", "0.0.0.0")
        assert code == 0
        assert "0.0.0.0" not in url
        assert "it is open to other machines" in said
        assert "let ssh -L or a proxy with TLS" in said
        assert [each["host"] for each in command.json("ps")] == ["0.0.0.0"]
        assert command.run("prompt", "tiny", "x") == "one two\n"
        command.run("stop", "tiny")
        said = command.fails("start", "tiny", "--host", "203.0.113.7", code=2, saying="is no address of this")
        assert "0.0.0.0 is every interface" in said
        command.fails("start", "tiny", "--host", "gpu1", code=2, saying="'gpu1' is not an address")
        assert "open to other" not in command.ended("start", "tiny")[2]

    def test_no_key(self, house: House):
        """Said wherever a key would be; with another address it is refused, and no key is forgotten."""
        command = Command(house.root.path)
        code, _, said = command.ended("start", "tiny", "--no-key", "--save")
        assert code == 0
        assert ", no key" in said
        assert "(no key)" in command.run("ps")
        (told,) = command.json("ps")
        assert (told["needs_key"], told["api_key"]) == (False, "")
        assert command.run("prompt", "tiny", "x") == "one two\n"
        command.run("stop", "tiny")
        assert command.json("presets") == [{"id": "tiny", "key": False}]
        assert "--no-key" in command.run("presets")
        assert "none: programs" in command.run("start", "tiny", "--explain")
        command.fails("start", "tiny", "--host", "0.0.0.0", code=4, saying="listens on loopback alone")
        assert command.json("start", "tiny", "--key")["api_key"]

    def test_a_device_that_is_not_there(self, house: House):
        """Said, with those that are."""
        said = Command(house.root.path).fails("start", "tiny", "--device", "GPU3", code=2, saying="no device")
        assert "there are CPU" in said
