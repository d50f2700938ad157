"""A stream as an HTTP answer: a reader who stops reading is cut off, one who leaves is forgotten."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rbee_tui.hive.limits import Limits
from rbee_tui.hive.streams import BehindError

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


class EventStream(Response):
    """Server-sent events from a generator of their pieces."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncGenerator[bytes], limits: Limits) -> None:
        super().__init__()
        self._pieces = pieces
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send pieces until they end, the reader leaves, or takes nothing for `limits.stall_seconds`."""
        sending = asyncio.create_task(self._send(send, scope["method"]))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except (TimeoutError, BehindError):
            # What it was sent and did not take is thrown away with the connection.
            scope["state"]["cut"]()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send, method: str) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with aclosing(self._pieces) as pieces:
            if method != "HEAD":
                async for piece in pieces:
                    async with asyncio.timeout(self._limits.stall_seconds):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
        with suppress(OSError):
            await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
