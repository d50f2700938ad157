"""Keys that come close together go one by one, each once the one before has done what it does."""

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest
from textual import events

from rbee_tui.ui.driver import Driver

pytestmark = pytest.mark.anyio


class Typed:
    """A driver that reads a pipe; its first key opens something, in many turns of a busy loop."""

    def __init__(self, busy_seconds: float) -> None:
        self._busy_seconds = busy_seconds
        self._loop = asyncio.get_running_loop()
        self._read, self._write = os.pipe()
        self._handlers = {each: signal.getsignal(each) for each in (signal.SIGTSTP, signal.SIGCONT)}
        self.driver: Any = Driver(self, debug=False, mouse=False, size=(80, 24))
        self.driver.fileno = self._read
        self.driver.process_message = self._sent
        self._sending = threading.Event()
        self._opened = False
        self.arrived: dict[str, bool] = {}
        """Whether it was open when each key came."""
        self.last = asyncio.Event()
        self._thread = threading.Thread(target=self.driver.run_input_thread, daemon=True)
        self._thread.start()

    def take_signals(self, *numbers: int) -> None:
        """None is answered here."""

    def hung_up(self) -> None:
        """It does not happen here."""

    def type(self, pieces: list[str], pause: float) -> None:
        """Type, and let each piece be read before the next comes."""
        for piece in pieces:
            self._sending.clear()
            os.write(self._write, piece.encode())
            assert self._sending.wait(10)
            time.sleep(pause)  # whoever types takes it

    def _sent(self, event: events.Event) -> None:
        assert isinstance(event, events.Key)
        self._loop.call_soon_threadsafe(self._came, event.key)
        self._sending.set()

    def _came(self, key: str) -> None:
        self.arrived[key] = self._opened
        if len(self.arrived) == 1:
            self._opening = asyncio.create_task(self._open())
        else:
            self.last.set()

    async def _open(self) -> None:
        for _ in range(15):
            await asyncio.sleep(0)
        time.sleep(self._busy_seconds)  # noqa: ASYNC251 - what makes a screen keeps the loop
        for _ in range(15):
            await asyncio.sleep(0)
        self._opened = True

    def close(self) -> None:
        """End its thread."""
        self.driver.exit_event.set()
        os.write(self._write, b" ")
        self._thread.join(10)
        self.driver.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)


@pytest.mark.parametrize(
    ("busy_seconds", "pause"), [(0.0, 0.0), (0.3, 0.0), (0.5, 0.2)], ids=["idle", "busy", "slowly"]
)
@pytest.mark.parametrize("pieces", [["aq"], ["a", "q"]], ids=["one read", "two"])
async def test_the_second_comes_to_what_the_first_opens(pieces: list[str], busy_seconds: float, pause: float):
    """Whether they are read together or in pieces, and however long a turn of the loop takes."""
    typed = Typed(busy_seconds)
    try:
        await asyncio.to_thread(typed.type, pieces, pause)
        async with asyncio.timeout(10):
            await typed.last.wait()
        assert typed.arrived == {"a": False, "q": True}
    finally:
        typed.close()
