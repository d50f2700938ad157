"""A program under a terminal of its own: a pty for raw bytes, modes and endings; tmux for what one sees."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from struct import pack
from typing import Self

from tests.e2e.support import HERE, wait_for

RBEE = [sys.executable, "-m", "rbee_tui"]
SECONDS = 20.0
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_MODE = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
# The child has to make the pty its controlling terminal before it becomes the program.
_EXEC = """import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])"""


def surroundings(home: Path, endpoint: str = "http://127.0.0.1:9", **more: str) -> dict[str, str]:
    """The environment of a screen on a root; unmeasured, so that times are the program's own."""
    drop = ("COVERAGE", "COV_", "LC_", "SSH_", "TMUX", "TEXTUAL", "NO_COLOR", "COLORTERM", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    mine = {"RBEE_HOME": str(home), "HF_ENDPOINT": endpoint, "PYTHONPATH": str(HERE), "USER": "somebody"}
    return kept | mine | {"LANG": "C.UTF-8", "TERM": "xterm-256color"} | more


class Pty:
    """A program on a pty: all that it writes is kept; `with` it to have it ended."""

    def __init__(
        self, words: Sequence[str], environment: dict[str, str], columns: int = 100, rows: int = 30
    ) -> None:
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.raw = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _EXEC, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        os.close(slave)
        self._reading = True
        self._closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while self._reading:
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    data = os.read(self.master, 1 << 16)
                except OSError:
                    return
                if not data:
                    return
                self.raw += data

    # What it shows

    def shown(self, since: int = 0) -> str:
        """All text that was written since a place in `raw`, without its sequences."""
        return _SEQUENCE.sub(b"", bytes(self.raw[since:])).decode(errors="replace")

    def wait(self, words: str, since: int = 0, seconds: float = SECONDS) -> None:
        """Wait until these words were written."""
        until = time.monotonic() + seconds
        while words not in self.shown(since):
            assert time.monotonic() < until, f"{words!r} was not shown in\n{self.shown(since)[-6000:]}"
            time.sleep(0.02)

    def open_modes(self) -> set[str]:
        """The private modes that are not as before; before, wrapping and the cursor are on."""
        modes = {"7": True}
        for numbers, which in _MODE.findall(bytes(self.raw)):
            for number in numbers.decode().split(";"):
                modes[number] = which == b"h"
        wrapping, cursor = modes.pop("7"), modes.pop("25", True)
        found = {number for number, is_on in modes.items() if is_on}
        return found | (set() if wrapping else {"7"}) | (set() if cursor else {"25"})

    @property
    def restored(self) -> bool:
        """Whether the lines of the terminal are as they were before."""
        return termios.tcgetattr(self.master) == self.before

    # What happens to it

    def press(self, *keys: str) -> None:
        """Type keys: words as they are, `enter`, `escape` and `ctrl+x` by name."""
        for key in keys:
            os.write(self.master, _KEYS.get(key) or _control(key) or key.encode())
            # Two sequences in one read could be taken for one key: an escape stands alone.
            time.sleep(0.15 if key == "escape" else 0.03)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        self.process.send_signal(number)

    def stall(self) -> None:
        """Read no more of what it writes, as a link that hangs."""
        self._reading = False
        self._thread.join()

    def hang_up(self) -> None:
        """Close the terminal."""
        self.stall()
        if not self._closed:
            self._closed = True
            os.close(self.master)

    def ended(self, seconds: float = SECONDS) -> int:
        """Its exit code, as a shell says it."""
        code = self.process.wait(seconds)
        time.sleep(0.1)  # what it wrote last is still to be read
        return 128 - code if code < 0 else code

    def ended_at_a_cost(self, seconds: float = SECONDS) -> tuple[int, float]:
        """Its exit code, and the seconds of processor time that it took from now to its end."""
        before = processor_seconds(self.process.pid)
        until = time.monotonic() + seconds
        while not (found := os.wait4(self.process.pid, os.WNOHANG))[0]:
            assert time.monotonic() < until, "it did not end"
            time.sleep(0.01)
        self.process.returncode = os.waitstatus_to_exitcode(found[1])
        code = self.process.returncode
        return 128 - code if code < 0 else code, found[2].ru_utime + found[2].ru_stime - before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(SECONDS)
        self.hang_up()


_KEYS = {"enter": b"\r", "escape": b"\x1b", "up": b"\x1b[A", "down": b"\x1b[B", "tab": b"\t"}


def _control(key: str) -> bytes:
    return bytes([ord(key[-1]) & 0x1F]) if key.startswith("ctrl+") else b""


class Tmux:
    """A program in a real terminal emulator, on a socket of its own."""

    def __init__(
        self, directory: Path, command: str, environment: dict[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        self._socket = directory / "tmux"
        self._environment = environment | {"SHELL": "/bin/sh"}
        self._run("new-session", "-d", "-x", str(columns), "-y", str(rows), command)

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return done.stdout

    def screen(self) -> str:
        """What one sees."""
        return self._run("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        for key in keys:
            self._run("send-keys", key)

    def type(self, text: str) -> None:
        """Type a text."""
        self._run("send-keys", "-l", text)

    def wait(self, *words: str, seconds: float = SECONDS) -> str:
        """Wait until all these words are seen; the screen."""
        seen: list[str] = [""]

        def found() -> bool:
            seen[0] = self.screen()
            return all(word in seen[0] for word in words)

        try:
            wait_for(found, seconds)
        except AssertionError:
            raise AssertionError(f"{words} are not on the screen:\n{seen[0]}") from None
        return seen[0]

    def resize(self, columns: int, rows: int) -> None:
        """Make the window so large."""
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self) -> None:
        """End the terminal, which hangs up."""
        self._run("kill-server")


@contextmanager
def tmux(
    directory: Path, words: Sequence[str], environment: dict[str, str], columns: int = 80, rows: int = 24
) -> Iterator[Tmux]:
    """Run a program in tmux for as long as the context lasts; when it has ended, its exit code is seen."""
    command = f"{shlex.join(words)}; echo ended with $?; exec cat"
    terminal = Tmux(directory, command, environment, columns, rows)
    try:
        yield terminal
    finally:
        terminal.close()


def processes_of(home: Path) -> dict[int, str]:
    """The living processes that were started for a root, by pid, with their command lines."""
    wanted = f"RBEE_HOME={home}".encode()
    found: dict[int, str] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if words and not words.startswith("tmux "):
                    found[int(place.name)] = words.strip()
    return found


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def state_of(pid: int) -> str:
    """A process's state: T where it is stopped."""
    return _stat(pid)[0]


def processor_seconds(pid: int) -> float:
    """The processor time that a process has taken, and its ended children."""
    return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")
