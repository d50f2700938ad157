"""The queen: told at the start, again and again while she is away, without a line for each attempt."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rbee_tui.engine import http
from rbee_tui.engine.errors import NetworkError, UsageError
from rbee_tui.hive import queen
from rbee_tui.hive.log import Log
from tests.hive.serving import wait_until

pytestmark = pytest.mark.anyio


class TestWaits:
    """As designed: at once, 2, 4, 8, 16 s, then spread and never more than a minute."""

    def test_the_first_are_fixed(self):
        """They double."""
        assert [queen.wait_seconds(failures) for failures in (1, 2, 3, 4)] == [2, 4, 8, 16]

    @pytest.mark.parametrize("failures", [5, 6, 7, 100, 10_000])
    def test_the_others_are_spread(self, failures: int):
        """Between half and all of at most 60 s, however long she is away."""
        bounds: list[tuple[float, float]] = []
        queen.wait_seconds(failures, lambda low, high: bounds.append((low, high)) or low)
        assert bounds == [(16, 32) if failures == 5 else (30, 60)]


class Queen:
    """Somebody who is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict]] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request and answer it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
        body = await reader.readexactly(int(length.split()[1]))
        self.told.append((head.splitlines()[0], json.loads(body)))
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """Be reachable."""
        async with await asyncio.start_server(self.take, "127.0.0.1", self.port) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """An empty log."""
    return Log(tmp_path / "hive.log")


def events(log: Log) -> list[str]:
    """What it says."""
    return (
        [json.loads(line)["event"] for line in log.path.read_text().splitlines()] if log.path.exists() else []
    )


class TestTelling:
    """A hive that is there."""

    async def test_away_and_back(self, log: Log, monkeypatch: pytest.MonkeyPatch):
        """Found when she comes, a line for each change and none for each attempt."""
        attempts = 0

        async def tell(url: str, body: object) -> None:
            nonlocal attempts
            attempts += 1
            await http.post_json(url, body)

        monkeypatch.setattr(queen, "wait_seconds", lambda failures: 0.01)
        monkeypatch.setattr(queen, "AGAIN_SECONDS", 0.01)
        her = Queen()
        async with her.there():
            pass
        telling = asyncio.create_task(
            queen.announce(f"http://127.0.0.1:{her.port}", "gpu-7", "http://gpu:7835", log, tell)
        )
        await wait_until(lambda: attempts > 3)
        assert events(log) == ["queen.absent"]
        for expected in (["queen.absent", "queen.found"], ["queen.absent", "queen.found"] * 2):
            async with her.there():
                told = len(her.told)
                await wait_until(lambda: len(her.told) > told + 2)  # noqa: B023 - awaited here
                assert events(log) == expected
            gone = attempts
            await wait_until(lambda: attempts > gone + 3)  # noqa: B023 - as above
        telling.cancel()
        assert her.told[0] == (
            "POST /v1/hive/ready HTTP/1.1",
            {"hive_id": "gpu-7", "hive_url": "http://gpu:7835"},
        )

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 302 Elsewhere\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"",
        ],
    )
    async def test_what_is_no_success_is_absence(self, answer: bytes):
        """Whatever else answers on that port."""
        her = Queen()
        her.answer = answer
        async with her.there():
            with pytest.raises(NetworkError, match=f"127.0.0.1:{her.port}"):
                await http.post_json(f"http://127.0.0.1:{her.port}/v1/hive/ready", {})

    async def test_an_endless_answer_is_not_read(self):
        """The status is enough."""
        her = Queen()
        her.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * (1 << 20)
        async with her.there():
            await http.post_json(f"http://127.0.0.1:{her.port}/v1/hive/ready", {})


class TestAddress:
    """Of a queen, as it is given."""

    @pytest.mark.parametrize(
        "url", ["http://localhost:7833", "https://queen.example.org/hives", "http://[::1]:1"]
    )
    def test_taken(self, url: str):
        """Without the slash at its end."""
        assert queen.check_url(f"{url}/") == url

    @pytest.mark.parametrize(
        "url",
        ["queen", "ftp://queen", "http://", "http://[x", "http://h:99999", "http://a:b@h", "http://h?x"],
    )
    def test_refused(self, url: str):
        """With the address and what one looks like."""
        with pytest.raises(UsageError, match="is not the address of a queen") as refused:
            queen.check_url(url)
        assert "http://localhost:7833" in refused.value.hint
