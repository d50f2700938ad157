"""Control requests: to local workers, to worker catalogs and to the queen. The only import of httpx."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from rbee_tui.engine.errors import NetworkError, WorkerError
from rbee_tui.engine.plain import UNDECODABLE, as_dict
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    import httpx

_LONGEST_LINE = 4 << 20
_OK = 200
_POST_SECONDS = 5.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Small(NamedTuple):
    """A whole answer that is short by agreement; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """At most one byte more than what was agreed: then it is too long."""


async def get_small(url: str, most: int, seconds: float) -> Small:
    """What a server answers, read up to `most` bytes and one; redirects are answers. Raises NetworkError.

    It takes `seconds` at most, also from a server that sends a byte now and then.
    """
    import httpx  # noqa: PLC0415 - it loads click and rich where it finds them

    from rbee_tui.engine.transfer.origins import trust  # noqa: PLC0415 - as above

    _quiet()
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(verify=trust()) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            body = bytearray()
            async for chunk in answer.aiter_raw(1 << 16):
                body += chunk
                if len(body) > most:
                    break
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Small(answer.status_code, headers, bytes(body[: most + 1]))
    except TimeoutError:
        raise NetworkError(f"{_host(url)} did not answer within {seconds:g} s") from None
    except (httpx.HTTPError, OSError) as error:
        reason = clean(str(error))[:160] or type(error).__name__
        raise NetworkError(f"{_host(url)} does not answer: {reason}", hint="check the address") from error


def _host(url: str) -> str:
    return clean(url.partition("://")[2].partition("/")[0])[:100]


def _quiet() -> None:
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


@asynccontextmanager
async def _client(
    key: str | None, seconds: float | None, *, proxied: bool = False
) -> "AsyncGenerator[httpx.AsyncClient]":
    """A client for one exchange: no proxy stands before loopback, and a connection is used once.

    A connection that is kept is now and then closed by a healthy worker just when it is used again.
    """
    import httpx  # noqa: PLC0415 - it loads click and rich where it finds them

    _quiet()
    headers = {"Connection": "close"} | ({"Authorization": f"Bearer {key}"} if key else {})
    limits = httpx.Limits(max_keepalive_connections=0)
    times = httpx.Timeout(seconds, connect=5.0)
    async with httpx.AsyncClient(trust_env=proxied, headers=headers, limits=limits, timeout=times) as client:
        yield client


async def stream_events(url: str, body: Any, *, key: str | None = None) -> AsyncGenerator[Any]:
    """The server-sent events that a worker answers with, decoded, up to `[DONE]`; raises WorkerError."""
    import httpx  # noqa: PLC0415 - as above

    async with _client(key, None) as client:
        try:
            async with client.stream("POST", url, json=body) as answer:
                if answer.status_code != _OK:
                    raise refused(answer.status_code, await answer.aread())
                async for line in _lines(answer.aiter_bytes()):
                    if line.startswith(b"data:"):
                        text = line[5:].strip()
                        if text == b"[DONE]":
                            return
                        yield _event(text)
        except httpx.HTTPError as error:
            raise _silent(error) from error


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The lines of a body: JSON may hold every other character that ends a line of text."""
    kept = bytearray()
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield bytes(kept + line)
            kept.clear()
        kept += rest
        if len(kept) > _LONGEST_LINE:
            raise WorkerError("the worker's answer has a line that is too long")
    yield bytes(kept)


def _event(text: bytes) -> Any:
    try:
        event: Any = msgspec.json.decode(text)
    except UNDECODABLE:
        raise WorkerError("the worker's answer is not JSON") from None
    if "error" in as_dict(event):
        raise WorkerError(f"the worker says: {_words(event)}")
    return event


def refused(code: int, body: bytes) -> WorkerError:
    """The error for an answer that is one, with the worker's own message."""
    try:
        answer: Any = msgspec.json.decode(body)
    except UNDECODABLE:
        words = clean(body[:200].decode(errors="replace"))
    else:
        if too_long := _too_long(as_dict(as_dict(answer).get("error"))):
            return too_long
        words = _words(answer)
    return WorkerError(f"the worker answered {code}: {words}", hint="rbee logs MODEL shows its log")


def _too_long(error: dict[str, Any]) -> WorkerError | None:
    """The error of llama.cpp's server for a prompt that its context does not hold; None for any other."""
    asked, holds = error.get("n_prompt_tokens"), error.get("n_ctx")
    if error.get("type") != "exceed_context_size_error":
        return None
    figures = (
        f": {asked:,} tokens, and it holds {holds:,}"
        if isinstance(asked, int) and isinstance(holds, int)
        else ""
    )
    return WorkerError(
        f"what was said so far and asked now does not fit into the context{figures}",
        hint="a shorter question or a new talk may fit; a worker with a larger context takes this one",
    )


def _words(answer: Any) -> str:
    error = as_dict(answer).get("error", answer)
    message = as_dict(error).get("message", error)
    return clean(" ".join(str(message).split()))[:300]


def _silent(error: Exception) -> WorkerError:
    reason = clean(str(error))[:160] or type(error).__name__
    return WorkerError(f"the worker does not answer: {reason}", hint="rbee logs MODEL shows its log")


async def post_json(url: str, body: Any) -> None:
    """Post a JSON object to a control server; raises NetworkError unless it answers with success.

    Its answer is not read, and no redirect is followed.
    """
    import httpx  # noqa: PLC0415 - as above

    proxied = urlsplit(url).hostname not in _LOOPBACK
    try:
        async with (
            _client(None, _POST_SECONDS, proxied=proxied) as client,
            client.stream("POST", url, json=body) as answer,
        ):
            if not answer.is_success:
                raise NetworkError(f"{clean(url)} answered {answer.status_code}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = clean(str(error))[:160] or type(error).__name__
        raise NetworkError(f"{clean(url)} does not answer: {reason}") from error
