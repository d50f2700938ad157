"""Asking a worker: its answer as it streams, its refusals in its own words, and whatever else may answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from rbee_tui.engine import http
from rbee_tui.engine.errors import WorkerError

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class Peer:
    """Answers each connection with these pieces, and then closes it."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.pieces: list[bytes] = []
        self.gone = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the request, write the pieces one by one."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        self.asked.append(head + await reader.readexactly(int(length.split()[1])))
        try:
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            self.gone.set()
        finally:
            writer.close()

    async def events(self, *pieces: bytes, key: str | None = None) -> list[Any]:
        """What is made of these pieces."""
        self.pieces = list(pieces)
        return [event async for event in http.stream_events(self.url, {"asked": 1}, key=key)]


@asynccontextmanager
async def serving() -> AsyncIterator[Peer]:
    """A peer on a free port."""
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with server:
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/completions"
        yield peer


def data(*events: Any) -> bytes:
    """Server-sent events."""
    return b"".join(b"data: " + json.dumps(e, ensure_ascii=False).encode() + b"\n\n" for e in events)


class TestStream:
    """Server-sent events, decoded."""

    async def test_events_come_up_to_the_last(self):
        """Comments and other fields are passed over, and what follows `[DONE]` too."""
        async with serving() as peer:
            body = b": ping\nevent: x\n" + data({"n": 1}) + b"data:[2]\r\n\r\ndata: [DONE]\n\ndata: broken\n"
            assert await peer.events(HEAD + body) == [{"n": 1}, [2]]

    async def test_wherever_the_network_cuts_them(self):
        """Letters of several bytes too."""
        async with serving() as peer:
            whole = HEAD + data({"text": "é😀"}, {"n": 2})
            assert await peer.events(*(bytes([byte]) for byte in whole)) == [{"text": "é😀"}, {"n": 2}]

    async def test_a_last_line_needs_no_end(self):
        """The worker may close at once."""
        async with serving() as peer:
            assert await peer.events(HEAD + b'data: {"n": 1}') == [{"n": 1}]

    @pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x7f"])
    async def test_what_ends_a_line_of_text_is_a_letter_in_json(self, character):
        """A model may say any of them; JSON need not escape them."""
        async with serving() as peer:
            assert await peer.events(HEAD + data({"text": f"a{character}b"})) == [{"text": f"a{character}b"}]
        with pytest.raises(json.JSONDecodeError):
            json.loads(data({"text": "a\u2028b"}).decode().splitlines()[0].removeprefix("data: "))

    async def test_the_request_is_a_worker_s(self, monkeypatch):
        """With its key, on a connection of its own, and past every proxy."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        async with serving() as peer:
            await peer.events(HEAD, key="rbee-key")
            await peer.events(HEAD)
        with_key, without = (request.lower() for request in peer.asked)
        assert b"authorization: bearer rbee-key\r\n" in with_key
        assert b"connection: close\r\n" in with_key
        assert with_key.endswith(b'{"asked":1}')
        assert b"authorization" not in without

    async def test_who_has_enough_closes_the_connection(self):
        """The worker stops to work for nobody."""
        async with serving() as peer:
            peer.pieces = [HEAD, *(data({"n": n, "text": "x" * 100_000}) for n in range(1000))]
            async with aclosing(http.stream_events(peer.url, {"asked": 1})) as events:
                assert (await anext(events))["n"] == 0
            await asyncio.wait_for(peer.gone.wait(), 30)


class TestFault:
    """Each is a sentence, with where to look."""

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b'{"error": {"message": "Invalid\\n API  Key", "code": 401}}', "Invalid API Key"),
            (b'{"error": "too long"}', "too long"),
            (b'{"detail": [1]}', "{'detail': [1]}"),
            (b'"no"', "no"),
            (b"<h1>\x1b[31m\xff</h1>", "<h1>\\x1b[31m\ufffd</h1>"),
            (b"", ""),
        ],
    )
    async def test_a_refusal_is_in_the_worker_s_words(self, body, words):
        """Whatever they look like, they are safe to show."""
        async with serving() as peer:
            length = f"Content-Length: {len(body)}\r\n\r\n".encode()
            with pytest.raises(WorkerError) as caught:
                await peer.events(b"HTTP/1.1 401 Unauthorized\r\n" + length + body)
        assert str(caught.value) == f"the worker answered 401: {words}"
        assert "rbee logs" in caught.value.hint

    async def test_a_prompt_that_the_context_does_not_hold(self):
        """Says what would fit; the log would not help."""
        error = {"code": 400, "message": "x", "type": "exceed_context_size_error"}
        for figures, said in (
            ({"n_prompt_tokens": 5000, "n_ctx": 4096}, "context: 5,000 tokens, and it holds 4,096"),
            ({"n_prompt_tokens": "\x1b"}, "into the context"),
        ):
            body = json.dumps({"error": error | figures}).encode()
            async with serving() as peer:
                length = f"Content-Length: {len(body)}\r\n\r\n".encode()
                with pytest.raises(WorkerError) as caught:
                    await peer.events(b"HTTP/1.1 400 Bad Request\r\n" + length + body)
            assert str(caught.value).endswith(said)
            assert "larger context" in caught.value.hint

    @pytest.mark.parametrize("code", [204, 302])
    async def test_an_answer_that_streams_nothing_is_a_refusal(self, code):
        """A redirect is not followed: the key would go along."""
        async with serving() as peer:
            answer = f"HTTP/1.1 {code} X\r\nLocation: {peer.url}\r\nContent-Length: 0\r\n\r\n".encode()
            with pytest.raises(WorkerError, match=f"answered {code}"):
                await peer.events(answer)
            assert len(peer.asked) == 1

    async def test_an_error_within_the_stream(self):
        """What came before it was given."""
        async with serving() as peer:
            peer.pieces = [HEAD + data({"n": 1}, {"error": {"message": "out of memory"}})]
            events = http.stream_events(peer.url, {})
            assert await anext(events) == {"n": 1}
            with pytest.raises(WorkerError, match=r"^the worker says: out of memory$"):
                await anext(events)

    async def test_what_is_not_json(self):
        """Another program has the port."""
        async with serving() as peer:
            with pytest.raises(WorkerError, match="is not JSON"):
                await peer.events(HEAD + b"data: {broken\n")

    async def test_a_line_without_an_end(self, monkeypatch):
        """It is given up before it fills the memory."""
        monkeypatch.setattr(http, "_LONGEST_LINE", 100_000)
        async with serving() as peer:
            with pytest.raises(WorkerError, match="a line that is too long"):
                await peer.events(HEAD, *[b"x" * 10_000] * 100_000)
            await asyncio.wait_for(peer.gone.wait(), 30)

    @pytest.mark.parametrize(
        "answer",
        [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: 1\n"],
        ids=["silent", "another protocol", "cut"],
    )
    async def test_a_worker_that_dies_or_is_none(self, answer):
        """The reason is told in a line."""
        async with serving() as peer:
            with pytest.raises(WorkerError, match=r"the worker does not answer: \S") as caught:
                await peer.events(answer)
        assert "\n" not in str(caught.value)

    async def test_nobody(self):
        """A worker that was just stopped."""
        async with serving() as peer:
            pass
        with pytest.raises(WorkerError, match="the worker does not answer"):
            await peer.events()


class TestLines:
    """The splitter that the stream stands on."""

    @pytest.mark.parametrize("cut", [lambda whole: [whole], lambda whole: [whole[:3], whole[3:], b""]])
    async def test_every_byte_is_in_a_line(self, cut: Callable[[bytes], list[bytes]]):
        """Empty ones too."""

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in cut(b"one\n\ntwo\r\nthree"):
                yield chunk

        assert [line async for line in http._lines(chunks())] == [b"one", b"", b"two\r", b"three"]
