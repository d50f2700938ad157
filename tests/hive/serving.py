"""The hive's server in this process: its guard and its connections around an endpoint of a test's."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from rbee_tui.hive.event_stream import EventStream
from rbee_tui.hive.guard import Guard
from rbee_tui.hive.limits import Limits
from rbee_tui.hive.log import Log
from rbee_tui.hive.server import Server
from rbee_tui.hive.streams import Stream

SECONDS = 20.0
App = Callable[[Any, Any, Any], Awaitable[None]]


class Served:
    """A server on a free port."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to it."""
        return await asyncio.open_connection("127.0.0.1", self.port, **options)

    def head(self, method: str = "GET", *more: str) -> bytes:
        """A request's head that the guard lets through."""
        lines = [f"{method} /stream HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Authorization: Bearer right"]
        return "\r\n".join([*lines, *more, "", ""]).encode()

    @property
    def unsent(self) -> int:
        """Bytes that wait in this process for peers to take them."""
        return sum(each.transport.get_write_buffer_size() for each in self.server.server_state.connections)


@asynccontextmanager
async def serving(app: App, limits: Limits, place: Path) -> AsyncIterator[Served]:
    """Serve an application behind the guard."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    port = listening.getsockname()[1]
    guard = Guard(
        app, frozenset({f"127.0.0.1:{port}"}), lambda given: given == b"right", limits, Log(place / "log")
    )
    server = Server(guard, limits)
    task = asyncio.create_task(server.serve([listening]))
    await server.ready(task)
    try:
        yield Served(server, port)
    finally:
        server.should_exit = True
        await task


def endpoint(stream: Stream, limits: Limits) -> App:
    """An application that is one stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        after = stream.after(headers.get(b"last-event-id", b"").decode())
        await EventStream(stream.read(after), limits)(scope, receive, send)

    return app


async def wait_until(condition: Callable[[], Any]) -> None:
    """Wait for a condition of this loop's."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What still comes up to the end, orderly or not."""
    got = bytearray()
    async with asyncio.timeout(SECONDS):
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                got += piece
    return bytes(got)
