"""Nobody reads a traceback: faults, interrupts and readers that go away."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rbee_tui.cli import guard
from rbee_tui.cli.command import rbee
from rbee_tui.engine.errors import WorkerError
from tests.cli.support import CHECKOUT, Command


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch):
    """A verb `fault` that raises what it is given."""

    def install(error: BaseException) -> None:
        @click.command()
        @click.option("--json", "as_json", is_flag=True)
        def fault(*, as_json: bool) -> None:
            del as_json
            token = "hf_secret"  # noqa: F841 - a local that must not reach the file
            raise error

        monkeypatch.setitem(rbee.commands, "fault", fault)

    return install


class TestFaults:
    def test_the_unexpected_is_one_sentence_and_a_private_file(
        self, fault, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ):
        """The traceback is kept for a report, readable by its owner alone, without the variables' values."""
        fault(ZeroDivisionError("division \x1b[31mby zero"))
        assert guard.run(["fault"]) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert "\x1b" not in err
        (kept,) = (tmp_path / "rbee" / "state" / "logs").glob("fault-*.txt")
        assert str(kept) in err
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        text = kept.read_text()
        assert "ZeroDivisionError" in text
        assert "hf_secret" not in text.replace('token = "hf_secret"', "")

    def test_it_is_kept_elsewhere_where_the_root_cannot_be(
        self, fault, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        """A fault in the root itself is reported all the same."""
        monkeypatch.setenv("RBEE_HOME", "relative")
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        fault(ZeroDivisionError())
        assert guard.run(["fault"]) == 1
        assert str(next(tmp_path.glob("fault-*.txt"))) in capfd.readouterr().err

    def test_a_worker_shows_the_end_of_its_log(self, fault, capfd: pytest.CaptureFixture[str]):
        """Cleaned, before the sentence; in JSON as a key."""
        fault(WorkerError("it died", hint="look", log="one\ntwo \x1b[2J"))
        assert guard.run(["fault"]) == 9
        assert capfd.readouterr().err == "  | one\n  | two \\x1b[2J\nrbee: it died\n  -> look\n"
        assert guard.run(["fault", "--json"]) == 9
        said = capfd.readouterr().err
        assert '"error": "worker"' in said
        assert '"log": "one\\ntwo \\u001b[2J"' in said

    def test_an_interrupt_is_130(self, fault, capfd: pytest.CaptureFixture[str]):
        """As a shell says it."""
        fault(KeyboardInterrupt())
        assert guard.run(["fault"]) == 130
        assert "rbee: interrupted" in capfd.readouterr().err


class TestReadersThatGoAway:
    def test_a_closed_pipe_ends_the_verb_quietly(self, tmp_path: Path):
        """As `rbee --help | head -1`: no complaint, and the code that a shell gives to SIGPIPE."""
        reading, writing = os.pipe()
        os.close(reading)
        process = Command(tmp_path / "rbee").start("--help", stdout=writing)
        os.close(writing)
        _, err = process.communicate(timeout=60)
        assert err == ""
        assert process.returncode == 141

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("words", [(), ("--version",), ("jobs", "--json")])
    def test_a_full_disk_behind_the_output_is_said(self, words: tuple[str, ...], tmp_path: Path):
        """Output that got lost is a failure, and none of rbee's own."""
        with Path("/dev/full").open("w") as full:
            process = Command(tmp_path / "rbee").start(*words, stdout=full)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 7
        assert "cannot write the output: No space left" in err
        assert "Traceback" not in err
        assert "report" not in err

    def test_a_full_disk_elsewhere_is_not_taken_for_it(self, fault, capfd: pytest.CaptureFixture[str]):
        """A file that the engine forgot to speak of."""
        fault(OSError(errno.ENOSPC, "No space left on device", "weights.gguf"))
        assert guard.run(["fault"]) == 1
        assert "cannot write the output" not in capfd.readouterr().err


class TestPlatforms:
    def test_windows_is_answered_with_a_sentence(self):
        """Before anything is imported that is not there."""
        code = (
            "import sys; sys.platform = 'win32'; sys.argv = ['rbee']\n"
            "import rbee_tui.__main__ as entry; entry.main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=CHECKOUT
        )
        assert done.returncode == 2
        assert "WSL" in done.stderr

    @pytest.mark.parametrize(
        ("loading", "said"), [("rbee_tui.cli.guard", ""), ("click", "rbee: interrupted\n")]
    )
    def test_an_interrupt_while_it_loads_shows_no_traceback(self, loading: str, said: str):
        """Ctrl-C at any moment."""
        code = (
            "import sys, builtins, os, signal\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job's is ignored
            "class Interrupt:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {loading!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Interrupt())\n"
            "sys.argv = ['rbee', '--version']\n"
            "import rbee_tui.__main__ as entry; entry.main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=CHECKOUT
        )
        assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", said)
