"""Streams: each reader gets everything in order, or is told what it missed, or is cut off."""

import asyncio
import re
import socket
from contextlib import aclosing
from pathlib import Path

import pytest

from rbee_tui.hive import streams
from rbee_tui.hive.limits import Limits
from rbee_tui.hive.streams import ALIVE, BehindError, Stream
from tests.hive.serving import SECONDS, endpoint, rest, serving, wait_until

pytestmark = pytest.mark.anyio
READERS, EVENTS = 50, 1000


async def collected(stream: Stream, after: int = 0) -> list[str]:
    """The data of what is read after an event."""
    got = b"".join([piece async for piece in stream.read(after)])
    return re.findall(r"^data: (.*)$", got.decode(), re.MULTILINE)


class TestReading:
    """What a reader gets."""

    async def test_all_in_order_and_then_the_end(self):
        """Nothing comes after the end."""
        stream = Stream(Limits())
        for number in range(3):
            stream.put("count", number)
        stream.end("[DONE]")
        stream.put("count", 9)
        stream.end("[CANCELLED]")
        assert await collected(stream) == ["0", "1", "2", "[DONE]"]

    async def test_it_waits_for_what_comes(self):
        """Each event is given when it is there."""
        stream = Stream(Limits())
        async with aclosing(stream.read(0)) as pieces:
            for number in range(3):
                stream.put("count", number)
                assert f"data: {number}\n".encode() in await anext(pieces)

    async def test_it_resumes_after_the_last(self):
        """By the id that the reader had; one of another stream begins anew."""
        stream = Stream(Limits())
        for number in range(5):
            stream.put("count", number)
        stream.end("[DONE]")
        ids = re.findall(r"^id: (.*)$", b"".join([p async for p in stream.read(0)]).decode(), re.MULTILINE)
        assert await collected(stream, stream.after(ids[2])) == ["3", "4", "[DONE]"]
        assert stream.is_over(stream.after(ids[-1]))
        for foreign in ("", "00000000-3", "3", f"{ids[2]}x", "-", f"{ids[0].partition('-')[0]}--1"):
            assert stream.after(foreign) == 0
        assert stream.after(f"{ids[0].partition('-')[0]}-999") == stream.last

    async def test_silence_is_told(self):
        """So that both sides find out that the other is gone."""
        stream = Stream(Limits(silence_seconds=0.01))
        async with aclosing(stream.read(0)) as pieces:
            assert await anext(pieces) == ALIVE
            stream.put("count", 1)
            assert b"data: 1" in await anext(pieces)

    async def test_a_line_is_a_line(self):
        """Whatever a string holds, no event can be made of it."""
        stream = Stream(Limits())
        stream.put("text", "a\n\ndata: [DONE]\n\r\u2028b")
        stream.end("[DONE]")
        assert len(await collected(stream)) == 2

    async def test_closing_lets_readers_go(self):
        """Without an end: they ask again later."""
        stream = Stream(Limits())
        stream.put("count", 1)
        reading = asyncio.create_task(collected(stream))
        await asyncio.sleep(0)
        stream.close()
        assert await reading == ["1"]
        assert not stream.ended


class TestBounds:
    """What a stream and its readers may take."""

    async def test_the_oldest_are_forgotten(self):
        """And one who comes back is told how many it missed."""
        stream = Stream(Limits(stream_bytes=2000))
        for number in range(1000):
            stream.put("count", number)
        stream.end("[DONE]")
        assert stream.kept_bytes <= 2000
        got = await collected(stream, 1)
        missed = int(re.search(r"\d+", got[0])[0])
        assert [int(each) for each in got[1:-1]] == list(range(missed + 1, 1000))

    async def test_one_that_is_too_large_is_kept(self):
        """In pieces, so that no reader costs more than another."""
        limits = Limits(stream_bytes=1000, chunk_bytes=100)
        stream = Stream(limits)
        stream.put("text", "x" * 5000)
        stream.end("[DONE]")
        pieces = [piece async for piece in Stream.read(stream, 0)]
        assert max(map(len, pieces)) <= 100

    async def test_a_reader_that_falls_behind_is_dropped(self):
        """While it reads, what it would get next is gone."""
        stream = Stream(Limits(stream_bytes=1000))
        stream.put("count", 0)
        async with aclosing(stream.read(0)) as pieces:
            await anext(pieces)
            for number in range(1000):
                stream.put("count", number)
            with pytest.raises(BehindError):
                await anext(pieces)


class TestManyReaders:
    """Over the hive's own connections."""

    async def test_none_of_them_loses_an_event(self, tmp_path: Path):
        """Fifty readers, a thousand events each, in order, and the end."""
        limits = Limits()
        stream = Stream(limits)

        async def read(port_head: bytes, connect) -> list[int]:
            reader, writer = await connect()
            writer.write(port_head)
            got = await rest(reader)
            writer.close()
            assert b"data: [DONE]" in got
            return [int(each) for each in re.findall(rb"^data: (\d+)", got, re.MULTILINE)]

        async with serving(endpoint(stream, limits), limits, tmp_path) as served:
            head = served.head("GET", "Connection: close")
            readers = [asyncio.create_task(read(head, served.connect)) for _ in range(READERS)]
            for number in range(EVENTS):
                stream.put("count", number)
                if number % 20 == 0:
                    await asyncio.sleep(0.001)
            stream.end("[DONE]")
            for each in await asyncio.gather(*readers):
                assert each == list(range(EVENTS))

    @pytest.mark.parametrize("text", ["x" * 500, "x" * (8 << 20)], ids=["many events", "one of 8 MiB"])
    async def test_a_stalled_one_is_cut_off(self, tmp_path: Path, text: str):
        """It never holds more than 1 MB here, and the others get everything."""
        limits = Limits(stall_seconds=0.3)
        stream = Stream(limits)
        async with serving(endpoint(stream, limits), limits, tmp_path) as served:
            stalled = socket.create_connection(("127.0.0.1", served.port))
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.sendall(served.head())
            reader, writer = await served.connect()
            writer.write(served.head("GET", "Connection: close"))
            going = asyncio.create_task(rest(reader))
            await wait_until(lambda: len(served.server.server_state.connections) == 2)
            most, sent = 0, 0
            until = asyncio.get_running_loop().time() + SECONDS
            while len(served.server.server_state.connections) == 2:
                assert asyncio.get_running_loop().time() < until, "it is still there"
                if sent < 16 << 20:
                    stream.put("text", text)
                    sent += len(text)
                await asyncio.sleep(0)
                most = max(most, served.unsent)
            assert 0 < most <= 1 << 20
            stream.end("[DONE]")
            assert b"data: [DONE]" in await going
            stalled.close()
            writer.close()

    async def test_one_that_leaves_is_forgotten(self, tmp_path: Path):
        """At once, not at the next event."""
        limits = Limits()
        stream = Stream(limits)
        ended: list[str] = []

        async def app(scope, receive, send) -> None:
            await endpoint(stream, limits)(scope, receive, send)
            ended.append("ended")

        async with serving(app, limits, tmp_path) as served:
            reader, writer = await served.connect()
            writer.write(served.head())
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await wait_until(lambda: ended)


async def test_the_check_of_a_stalled_reader_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The mutant writes an event of 8 MiB as one: all of it waits here for the one who does not read."""
    limits = Limits(stall_seconds=0.3, chunk_bytes=64 << 20)
    stream = Stream(limits)
    stream.put("text", "x" * (8 << 20))
    async with serving(endpoint(stream, limits), limits, tmp_path) as served:
        stalled = socket.create_connection(("127.0.0.1", served.port))
        stalled.sendall(served.head())
        await wait_until(lambda: served.unsent > 1 << 20)
        stalled.close()


def test_events_are_as_the_standard_has_them():
    """Number, kind, one line of data, an empty line."""
    assert streams.encode("ab", 7, "count", b"1") == b"id: ab-7\nevent: count\ndata: 1\n\n"
    assert streams.encode("ab", 8, "", b"[DONE]") == b"id: ab-8\ndata: [DONE]\n\n"
