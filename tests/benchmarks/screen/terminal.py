"""A program under a terminal of 120x40 that answers nothing: when its bytes come, and what it costs."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

COLUMNS, ROWS = 120, 40
PATIENCE = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Terminal:
    """Runs a program; `with` it, at its end the program is killed."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._pieces: list[tuple[float, bytes]] = []
        self._arrived = threading.Condition()
        self._reading = threading.Event()
        self._reading.set()
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environment),
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.set()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        os.close(self._master)

    def _read(self) -> None:
        while True:
            self._reading.wait()
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # Linux's answer once the program is gone
                return
            with self._arrived:
                self._pieces.append((time.monotonic(), data))
                self._arrived.notify_all()

    # What comes

    @property
    def mark(self) -> int:
        """What has come so far; `wait_for` looks after it."""
        return len(self._pieces)

    def written(self, since: int = 0) -> int:
        """Bytes that came after a mark."""
        return sum(len(data) for _, data in self._pieces[since:])

    def text(self, since: int = 0) -> str:
        """All that came after a mark."""
        return b"".join(data for _, data in self._pieces[since:]).decode(errors="replace")

    def wait_for(self, needle: str, since: int = 0, seconds: float = PATIENCE) -> float | None:
        """When all of `needle` had come, by the monotonic clock; None when it did not in time."""
        wanted, tail, at = needle.encode(), b"", since
        until = time.monotonic() + seconds
        with self._arrived:
            while True:
                for when, data in self._pieces[at:]:
                    tail += data
                    if wanted in tail:
                        return when
                    tail = tail[-len(wanted) :]
                at = len(self._pieces)
                if not self._arrived.wait(until - time.monotonic()):
                    return None

    def must_show(self, needle: str, since: int = 0) -> float:
        """As `wait_for`; raises AssertionError with what came instead."""
        when = self.wait_for(needle, since)
        assert when is not None, f"{needle!r} was not shown: {self.text(since)[-2000:]!r}"
        return when

    def press(self, keys: str) -> float:
        """Type; returns when, by the monotonic clock."""
        when = time.monotonic()
        os.write(self._master, keys.encode())
        return when

    def stall(self, seconds: float, keys: str) -> None:
        """Read nothing for so long, while somebody goes on typing."""
        self._reading.clear()
        before = self.mark
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key in keys:
                self.press(key)
                time.sleep(0.05)
        assert self.mark <= before + 1, "somebody has read"
        self._reading.set()

    # What it costs

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Its resident memory, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6
