"""Programs that are asked what they are, and the interpreters that they run under."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from rbee_tui.engine.text import clean

_ASK_SECONDS = 60.0
# llama-server would take the last as a key of its own.
_UNSEEN = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYTHONPATH", "PYTHONHOME", "LLAMA_API_KEY")
_LAST_LINES = 12


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a program said to a short question, and how it ended."""

    said: str
    code: int | None
    """None when it could not be started or did not end in time."""

    @property
    def ending(self) -> str:
        """How it ended, in words; empty when it ended well."""
        if self.code is None:
            return "it could not be started, or did not answer"
        if self.code < 0:
            return f"it was ended by {_signal_name(-self.code)}"
        return f"it ended with exit code {self.code}" if self.code else ""

    @property
    def last_lines(self) -> str:
        """The end of what it said, made safe to show."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        return "\n".join(clean(line) for line in lines[-_LAST_LINES:])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals between the first and the last have no name
        return f"signal {number}"


def ask(words: list[str], seconds: float = _ASK_SECONDS) -> Answer:
    """What a program says to a short question, on either stream."""
    try:
        found = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=quiet_environment(),
        )
    except OSError as error:
        return Answer(said=error.strerror or "", code=None)
    except subprocess.TimeoutExpired:
        return Answer(said="", code=None)
    said = (found.stdout + b"\n" + found.stderr).decode(errors="replace")
    return Answer(said=said, code=found.returncode)


def quiet_environment() -> dict[str, str]:
    """This process's environment, less what a runtime must not see: secrets, and another Python's modules."""
    return {key: value for key, value in os.environ.items() if key not in _UNSEEN}


def base_python() -> Path:
    """The interpreter below any virtual environment: those that uvx makes vanish."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable)


def python_for(recorded: str | None) -> Path:
    """The interpreter that a worker was installed with; this one's where that is gone."""
    found = Path(recorded) if recorded else None
    return found if found and os.access(found, os.X_OK) else base_python()
