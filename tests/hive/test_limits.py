"""What one peer may take of the hive's time and connections."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.hive.limits import Limits
from tests.hive.serving import rest, serving, wait_until

pytestmark = pytest.mark.anyio


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body."""
    body = (await receive()).get("body", b"")
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    """Never answers."""
    while (await receive())["type"] != "http.disconnect":
        pass


JSON = ("Content-Type: application/json", "Content-Length: 2")


class TestSlowPeers:
    """Those who come a byte at a time, or not at all."""

    @pytest.mark.parametrize("sent", [b"", b"GET /stream HT", b"GET /stream HTTP/1.1\r\nHost: x\r\n"])
    async def test_a_head_that_does_not_come(self, tmp_path: Path, sent: bytes):
        """Is waited for, and then the connection is cut."""
        limits = Limits(head_seconds=0.2)
        async with serving(echo, limits, tmp_path) as served:
            reader, writer = await served.connect()
            writer.write(sent)
            assert await rest(reader) == b""
            writer.close()

    async def test_a_head_that_drips(self, tmp_path: Path):
        """Each byte buys no time; also for a second request on the same connection."""
        limits = Limits(head_seconds=0.3)
        async with serving(echo, limits, tmp_path) as served:
            reader, writer = await served.connect()
            writer.write(served.head("POST", *JSON) + b"{}")
            assert b"{}" in await reader.readuntil(b"{}")
            dripping = asyncio.create_task(drip(writer, served.head()[:-2]))
            assert await rest(reader) == b""
            dripping.cancel()
            writer.close()

    async def test_a_body_that_does_not_come(self, tmp_path: Path):
        """Is answered with 408."""
        limits = Limits(body_seconds=0.2)
        async with serving(echo, limits, tmp_path) as served:
            reader, writer = await served.connect()
            writer.write(served.head("POST", *JSON) + b"{")
            assert b" 408 " in await rest(reader)
            writer.close()

    async def test_a_request_that_is_in_time(self, tmp_path: Path):
        """The clock stops with the head: an answer may take longer."""
        limits = Limits(head_seconds=0.1)
        async with serving(hangs, limits, tmp_path) as served:
            _, writer = await served.connect()
            writer.write(served.head())
            await wait_until(lambda: served.server.server_state.tasks)
            loop = asyncio.get_running_loop()
            until = loop.time() + 3 * limits.head_seconds
            await wait_until(lambda: loop.time() > until)
            assert served.server.server_state.connections
            writer.close()


async def drip(writer: asyncio.StreamWriter, head: bytes) -> None:
    """Write a head byte by byte, and never its end."""
    for byte in itertools.chain(head, itertools.cycle(b"x: y\r\n")):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.03)


class TestManyPeers:
    """Those who open connections and keep them."""

    async def test_too_many_are_told(self, tmp_path: Path):
        """503 beyond the limit, nothing at all beyond twice as many; those before are not touched."""
        limits = Limits(connections=4)
        async with serving(hangs, limits, tmp_path) as served:
            each = [await served.connect() for _ in range(3)]
            for _, writer in each:
                writer.write(served.head())
            await wait_until(lambda: len(served.server.server_state.tasks) == 3)
            reader, writer = await served.connect()
            writer.write(served.head("GET", "Connection: close"))
            assert b" 503 " in await rest(reader)
            idle = [await served.connect() for _ in range(12)]
            await wait_until(lambda: len(served.server.server_state.connections) <= 2 * limits.connections)
            assert len(served.server.server_state.tasks) == 3
            for _, opened in [*each, *idle, (reader, writer)]:
                opened.close()


class TestFaults:
    """What nobody foresaw."""

    async def test_a_fault_is_a_sentence(self, tmp_path: Path):
        """500 without a traceback; the traceback is kept for whoever mends it."""

        async def fails(scope: Any, receive: Any, send: Any) -> None:
            raise ZeroDivisionError("secret")

        async with serving(fails, Limits(), tmp_path) as served:
            reader, writer = await served.connect()
            writer.write(served.head())
            answer = await rest(reader)
            writer.close()
        assert b" 500 " in answer
        assert b"Traceback" not in answer
        assert "fault" in (tmp_path / "log").read_text()
