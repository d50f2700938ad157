"""Asking a program what it is: it may be any program, and may end anyhow."""

import os
import signal
import sys
from pathlib import Path

import pytest

from rbee_tui.engine.workers.runtimes import Answer, ask, base_python, python_for


def program(code: str) -> list[str]:
    """A Python program's command line."""
    return [sys.executable, "-c", code]


class TestAsk:
    """One short question."""

    def test_both_streams_are_its_answer(self):
        """llama-server tells its version on the second one."""
        found = ask(program("import sys; print('out'); print('version: 1', file=sys.stderr)"))
        assert found.said.split("\n") == ["out", "", "version: 1", ""]
        assert (found.code, found.ending) == (0, "")

    def test_an_exit_code_is_told(self):
        """In words."""
        assert ask(program("raise SystemExit(3)")).ending == "it ended with exit code 3"

    @pytest.mark.parametrize(
        ("number", "name"),
        [(signal.SIGILL, "SIGILL"), (signal.SIGRTMIN + 3, f"signal {signal.SIGRTMIN + 3}")],
    )
    def test_a_signal_is_told(self, number, name):
        """By its name where it has one."""
        found = ask(program(f"import os; os.kill(os.getpid(), {int(number)})"))
        assert found.ending == f"it was ended by {name}"

    def test_one_that_cannot_be_started(self, tmp_path: Path):
        """The system's reason is what it said."""
        found = ask([str(tmp_path / "nothing")])
        assert found == Answer(said="No such file or directory", code=None)
        assert found.ending == "it could not be started, or did not answer"

    def test_one_that_does_not_answer_is_ended(self):
        """After a while, rather than never."""
        assert ask(program("import time; time.sleep(600)"), seconds=0.2).code is None

    def test_it_waits_for_no_input(self):
        """A program that reads gets the end of it at once."""
        assert ask(program("import sys; print(repr(sys.stdin.read()))")).said.strip() == "''"

    def test_bytes_that_are_no_text_do_no_harm(self):
        """And what is shown of them holds nothing that a terminal obeys."""
        found = ask(program(r"import os; os.write(1, b'\xff\x1b[31mred\n' * 20)"))
        assert "\x1b" not in found.last_lines
        assert len(found.last_lines.splitlines()) == 12

    def test_it_sees_no_token_no_key_and_no_other_python(self, monkeypatch):
        """All else is as it is here."""
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYTHONHOME", "PYTHONPATH", "LLAMA_API_KEY"):
            monkeypatch.setenv(name, "secret")
        monkeypatch.setenv("RBEE_TEST", "seen")
        env = "/usr/bin/env"
        if not os.access(env, os.X_OK):
            pytest.skip("needs /usr/bin/env")
        said = ask([env]).said
        assert "RBEE_TEST=seen" in said
        assert "secret" not in said


class TestInterpreter:
    """What a launcher runs under."""

    def test_the_one_below_every_environment(self):
        """Those that are made for one command vanish with it."""
        assert base_python() == Path(getattr(sys, "_base_executable", sys.executable))

    def test_the_recorded_one_while_it_is_there(self, tmp_path: Path):
        """Else the one below this one."""
        assert python_for(sys.executable) == Path(sys.executable)
        assert python_for(str(tmp_path / "python")) == python_for(None) == base_python()
