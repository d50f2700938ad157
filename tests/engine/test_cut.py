"""A search that nobody waits for any more: its connection is closed, as the Hub sees it."""

import asyncio
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.cut import Cut
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import NetworkError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from rbee_tui.engine.repository import Filters

pytestmark = pytest.mark.anyio
SECONDS = 20.0


class Silent:
    """A Hub that takes questions, answers none, and counts the connections that are open."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.asked = 0
        """Questions that came."""
        self.open: set[socket.socket] = set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self.over.is_set():
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    self._selector.register(connection, selectors.EVENT_READ)
                    self.open.add(connection)
                else:
                    self._read(key.fileobj)
        for each in self.open:
            each.close()

    def _read(self, connection: socket.socket) -> None:
        if connection.recv(1 << 16):
            self.asked += 1
        else:
            self._selector.unregister(connection)
            connection.close()
            self.open.discard(connection)


@pytest.fixture
def silent() -> Iterator[Silent]:
    """It runs."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        found = Silent(listener)
        yield found
        found.over.set()
        found.thread.join()


async def until(condition, seconds: float = SECONDS) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it is on a thread
            await asyncio.sleep(0.005)


class TestCutOff:
    async def test_the_next_letter_closes_the_connection(self, root: Root, silent: Silent):
        """Letter after letter: never more than one is open, and none at the end."""
        engine = Engine(root, Hub(silent.url, token=""))
        for number in range(1, 31):
            search = asyncio.ensure_future(engine.search("x" * number, 50, Filters()))
            await until(lambda number=number: silent.asked == number)
            assert len(silent.open) == 1
            search.cancel()
            await until(lambda: not silent.open)
            assert search.cancelled() or await asyncio.wait({search})

    async def test_the_thread_asks_again_afterwards(self, root: Root, silent: Silent):
        """Its next question has a connection of its own, which is then kept."""
        hub = Hub(silent.url, token="")
        cut, failed = Cut(), threading.Event()

        def both() -> list[str]:
            with pytest.raises(NetworkError):
                hub.search("x", cut=cut)
            failed.set()
            with DemoHub([DemoRepo("acme/tiny", {"tiny.gguf": b"GGUF"})]) as other:
                ours = Hub(other.url, token="")
                return [each.id for _ in range(2) for each in ours.search("tiny", cut=Cut())]

        running = asyncio.ensure_future(asyncio.to_thread(both))
        await until(lambda: silent.asked == 1)
        cut.now()
        assert await running == ["acme/tiny"] * 2

    async def test_before_and_after_its_time(self, root: Root, silent: Silent):
        """Given up before it began it is not asked; once it is over, others are left alone."""
        cut = Cut()
        cut.now()
        with pytest.raises(NetworkError, match="given up"):
            await asyncio.to_thread(Hub(silent.url, token="").search, "x", cut=cut)
        assert silent.asked == 0
        with DemoHub([DemoRepo("acme/tiny", {"tiny.gguf": b"GGUF"})]) as served:
            hub = Hub(served.url, token="")
            done = Cut()
            assert hub.search("tiny", cut=done)
            done.now()
            assert hub.search("tiny", cut=Cut())
