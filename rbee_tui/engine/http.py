"""Control requests to workers on this machine. The only import of httpx."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from rbee_tui.engine.errors import WorkerError
from rbee_tui.engine.plain import as_dict
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    import httpx

_LONGEST_LINE = 4 << 20
_OK = 200
_ERRORS = 400


@asynccontextmanager
async def _client(key: str | None, seconds: float | None) -> "AsyncGenerator[httpx.AsyncClient]":
    """A client for one exchange: no proxy stands before loopback, and a connection is used once.

    A connection that is kept is now and then closed by a healthy worker just when it is used again.
    """
    import httpx  # noqa: PLC0415 - it loads click and rich where it finds them

    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"Connection": "close"} | ({"Authorization": f"Bearer {key}"} if key else {})
    limits = httpx.Limits(max_keepalive_connections=0)
    times = httpx.Timeout(seconds, connect=5.0)
    async with httpx.AsyncClient(trust_env=False, headers=headers, limits=limits, timeout=times) as client:
        yield client


async def status(url: str, *, key: str | None = None, seconds: float = 2.0) -> int | None:
    """The status that a GET answers with; None when nobody does within `seconds`."""
    import httpx  # noqa: PLC0415 - as above

    async with _client(key, seconds) as client:
        try:
            return (await client.get(url)).status_code
        except httpx.HTTPError:
            return None


async def request_json(
    method: str, url: str, body: Any = None, *, key: str | None = None, seconds: float | None = 30.0
) -> Any:
    """What a worker answers, decoded; raises WorkerError with its own words."""
    import httpx  # noqa: PLC0415 - as above

    async with _client(key, seconds) as client:
        try:
            answer = await client.request(method, url, json=body)
        except httpx.HTTPError as error:
            raise _silent(error) from error
    if answer.status_code >= _ERRORS:
        raise refused(answer.status_code, answer.content)
    try:
        return msgspec.json.decode(answer.content)
    except msgspec.MsgspecError:
        raise WorkerError("the worker answered with something that is not JSON") from None


async def stream_events(url: str, body: Any, *, key: str | None = None) -> AsyncGenerator[Any]:
    """The server-sent events that a worker answers with, decoded, up to `[DONE]`; raises WorkerError."""
    import httpx  # noqa: PLC0415 - as above

    async with _client(key, None) as client:
        try:
            async with client.stream("POST", url, json=body) as answer:
                if answer.status_code != _OK:
                    raise refused(answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    if len(line) > _LONGEST_LINE:
                        raise WorkerError("the worker's answer has a line that is too long")
                    if line.startswith("data:"):
                        text = line[5:].strip()
                        if text == "[DONE]":
                            return
                        yield _event(text)
        except httpx.HTTPError as error:
            raise _silent(error) from error


def _event(text: str) -> Any:
    try:
        event: Any = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        raise WorkerError("the worker's answer is not JSON") from None
    if "error" in as_dict(event):
        raise WorkerError(f"the worker says: {_words(event)}")
    return event


def refused(code: int, body: bytes) -> WorkerError:
    """The error for an answer that is one, with the worker's own message."""
    try:
        words = _words(msgspec.json.decode(body))
    except msgspec.MsgspecError:
        words = clean(body[:200].decode(errors="replace"))
    return WorkerError(f"the worker answered {code}: {words}", hint="rbee logs MODEL shows its log")


def _words(answer: Any) -> str:
    error = as_dict(answer).get("error", answer)
    message = as_dict(error).get("message", error)
    return clean(" ".join(str(message).split()))[:300]


def _silent(error: Exception) -> WorkerError:
    reason = clean(str(error))[:160] or type(error).__name__
    return WorkerError(f"the worker does not answer: {reason}", hint="rbee logs MODEL shows its log")
