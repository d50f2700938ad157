"""What stands before every endpoint: who may ask, under which name, from which page, and how much."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import msgspec

from rbee_tui.engine import traces
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.text import clean
from rbee_tui.hive.limits import Limits
from rbee_tui.hive.log import Log

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

OPEN_PATHS = frozenset({"/health"})
"""What is answered without a token, and tells nothing."""
_CHANGES = frozenset({"POST", "PUT", "PATCH"})
_STATUS = {
    "usage": 400,
    "not_found": 404,
    "busy": 409,
    "refused": 409,
    "network": 502,
    "hub": 502,
    "rate_limited": 502,
    "access": 403,
    "no_space": 507,
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that says no: the same three words as `rbee --json` says on standard error."""

    error: str
    message: str
    hint: str = ""


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """Raised where a request is refused, with its status."""

    def __init__(self, status: int, error: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.refusal = Refusal(error=error, message=message, hint=hint)


def refused(error: RbeeError) -> Refused:
    """An error of the engine as an answer."""
    return Refused(_STATUS.get(error.code, 500), error.code, clean(str(error)), clean(error.hint))


def check(scope: Scope, hosts: frozenset[str], is_token: Callable[[bytes], bool]) -> None:
    """Raise Refused unless a request has a right Host, no foreign Origin, the token and a right type.

    In this order: who comes under a wrong name learns nothing, not even whether a token is right.
    """
    headers: Headers = scope["headers"]
    if not scope["raw_path"].startswith(b"/"):
        raise Refused(400, "usage", "the request's target has to be a path")
    host = _only(headers, b"host")
    if host is None or host not in hosts:
        raise Refused(403, "host", "this Host is not one of the hive's", "rbee hive --name NAME adds one")
    if any(name == b"origin" for name, _ in headers):
        origin = _only(headers, b"origin")
        if origin is None or not origin.startswith("http://") or origin[7:] not in hosts:
            raise Refused(403, "origin", "pages of other sites may not ask the hive")
    if scope["path"] not in OPEN_PATHS and not is_token(_bearer(headers)):
        raise Refused(
            401,
            "token",
            "a token is needed: Authorization: Bearer TOKEN",
            "rbee hive token prints it, on the hive's machine",
        )
    if scope["method"] in _CHANGES and not _is_json(headers):
        raise Refused(415, "type", "the body has to be JSON: Content-Type: application/json")


def _only(headers: Headers, name: bytes) -> str | None:
    """The value of a header that stands there exactly once, and is plain ASCII."""
    found = [value for each, value in headers if each == name]
    return found[0].decode("ascii", "replace") if len(found) == 1 else None


def _bearer(headers: Headers) -> bytes:
    scheme, _, token = (_only(headers, b"authorization") or "").partition(" ")
    return token.strip().encode() if scheme.lower() == "bearer" else b""


def _is_json(headers: Headers) -> bool:
    kind, _, parameters = (_only(headers, b"content-type") or "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    return kind.strip().lower() == "application/json" and charset in ("", "charset=utf-8")


class Guard:
    """An ASGI application around another: it refuses, bounds, logs, and answers every error in one form."""

    def __init__(
        self,
        app: App,
        hosts: frozenset[str],
        is_token: Callable[[bytes], bool],
        limits: Limits,
        log: Log,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._is_token = is_token
        self._limits = limits
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever becomes of it."""
        if scope["type"] != "http":
            return
        began, status = time.monotonic(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._answer(scope, receive, noted)
        except Refused as answer:
            if not status:
                await _refuse(noted, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the peer gets a sentence and no traceback
            fault = traces.keep(error)
            self._log.write("fault", message=traces.sentence(error), hint=fault)
            if not status:
                await _refuse(noted, Refused(500, "unexpected", traces.sentence(error), "the hive kept it"))
        finally:
            if scope["path"] not in OPEN_PATHS:
                self._log.write(
                    "request",
                    method=scope["method"],
                    path=clean(scope["path"])[:200],
                    status=status,
                    peer=(scope.get("client") or ("", 0))[0],
                    ms=round(1000 * (time.monotonic() - began)),
                )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The parser bounds only heads that come in pieces.
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._limits.head_bytes:
            raise Refused(431, "size", f"a head may have {self._limits.head_bytes:,} bytes")
        check(scope, self._hosts, self._is_token)
        try:
            if scope["method"] in _CHANGES:
                body = await self._body(receive)
                receive = _after(body, receive)
            await self._app(scope, receive, send)
        except RbeeError as error:
            raise refused(error) from error

    async def _body(self, receive: Receive) -> bytes:
        """The whole body, within its bounds of size and time."""
        body = bytearray()
        more = True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._limits.body_bytes:
                        raise Refused(413, "size", f"a body may have {self._limits.body_bytes:,} bytes")
        except TimeoutError:
            raise Refused(
                408, "slow", f"the body did not come within {self._limits.body_seconds:.0f} s"
            ) from None
        return bytes(body)


def _after(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, and then what else comes: that the peer is gone."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


async def _refuse(send: Send, answer: Refused) -> None:
    """Say no, and end the connection: a body that nobody read may still be on its way."""
    body = msgspec.json.encode(answer.refusal)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if answer.status == 401:  # noqa: PLR2004 - HTTP's own number
        headers.append((b"www-authenticate", b"Bearer"))
    with suppress(OSError):
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
