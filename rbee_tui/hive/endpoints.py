"""The endpoints, in one table: routes and their description are both made of it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route

from rbee_tui.engine import hardware
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import clean
from rbee_tui.hive.devices import Capabilities, capabilities
from rbee_tui.hive.event_stream import EventStream
from rbee_tui.hive.guard import Receive, Refusal, Refused, Scope, Send
from rbee_tui.hive.jobs import Jobs
from rbee_tui.hive.limits import Limits
from rbee_tui.hive.operations import AnyOperation
from rbee_tui.hive.telemetry import Heartbeat, Telemetry


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an operation."""

    job_id: str
    sse_url: str
    """A path on this hive."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a job's cancellation, or to the hive's end."""

    id: str
    state: str


@dataclass(frozen=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    answer: Callable[["Api", Request], Awaitable[Response]]
    summary: str
    gives: Any = None
    """The struct of its answer; None for plain text, `EventStream` for a stream."""
    takes: Any = None
    status: int = 200
    tells: tuple[tuple[str, Any], ...] = ()
    """Kind and struct of each event of a stream."""


class Json(Response):
    """A struct as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """As msgspec writes it."""
        return msgspec.json.encode(content)


class Api:
    """What the endpoints work on."""

    def __init__(
        self, engine: Engine, jobs: Jobs, telemetry: Telemetry, limits: Limits, end: Callable[[], None]
    ) -> None:
        self.engine = engine
        self.jobs = jobs
        self.telemetry = telemetry
        self.limits = limits
        self.end = end

    async def health(self, _: Request) -> Response:
        """The hive answers."""
        return PlainTextResponse("ok")

    async def describe(self, _: Request) -> Response:
        """The description of all of this."""
        from rbee_tui.hive import openapi  # noqa: PLC0415 - few ask

        return Json(openapi.describe(ENDPOINTS))

    async def capabilities(self, _: Request) -> Response:
        """The machine's devices."""
        return Json(capabilities(await asyncio.to_thread(hardware.read, self.engine.root.path)))

    async def submit(self, request: Request) -> Response:
        """Begin an operation."""
        try:
            asked = msgspec.json.decode(await request.body(), type=AnyOperation)
        except UNDECODABLE as error:
            raise UsageError(clean(f"that is no operation: {error}"), hint="/openapi.json has each") from None
        job = await self.jobs.submit(asked)
        return Json(Accepted(job_id=job.id, sse_url=f"/v1/jobs/{job.id}/stream"), status_code=202)

    async def stream(self, request: Request) -> Response:
        """Follow a job."""
        job = await self.jobs.find(request.path_params["id"])
        last = request.headers.get("last-event-id", "")
        after = job.stream.after(last)
        if last and job.stream.is_over(after):
            return Response(status_code=204)  # a browser's reader would come back for ever
        return EventStream(job.stream.read(after), self.limits)

    async def cancel(self, request: Request) -> Response:
        """End a job."""
        job = await self.jobs.cancel(request.path_params["id"])
        return Json(Ending(id=job.id, state="cancelled"))

    async def heartbeats(self, request: Request) -> Response:
        """Follow the hive itself."""
        stream = self.telemetry.stream
        last = request.headers.get("last-event-id", "")
        after = stream.after(last) if last else stream.last

        async def beats() -> AsyncGenerator[bytes]:
            async with self.telemetry.reading() as fed, aclosing(fed.read(after)) as pieces:
                async for piece in pieces:
                    yield piece

        return EventStream(beats(), self.limits)

    async def shut_down(self, _: Request) -> Response:
        """End the hive."""
        self.end()
        return Json(Ending(id="hive", state="ending"), status_code=202)


ENDPOINTS = (
    Endpoint("GET", "/health", Api.health, "Whether the hive answers; needs no token."),
    Endpoint("GET", "/openapi.json", Api.describe, "This description.", dict[str, Any]),
    Endpoint("GET", "/v1/capabilities", Api.capabilities, "The machine's devices.", Capabilities),
    Endpoint(
        "POST",
        "/v1/jobs",
        Api.submit,
        "Begin an operation; one that cannot be is refused here.",
        Accepted,
        AnyOperation,
        202,
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/stream",
        Api.stream,
        "Follow a job; Last-Event-ID resumes; ends with [DONE], [ERROR] ... or [CANCELLED].",
        EventStream,
        tells=(
            ("accepted", dict[str, Any]),
            ("progress", JobProgress),
            ("line", dict[str, str]),
            ("result", Any),
            ("failed", Refusal),
            ("missed", dict[str, int]),
        ),
    ),
    Endpoint("DELETE", "/v1/jobs/{id}", Api.cancel, "Cancel a job.", Ending),
    Endpoint(
        "GET",
        "/v1/heartbeats/stream",
        Api.heartbeats,
        "Follow the hive: a heartbeat each second.",
        EventStream,
        tells=(("heartbeat", Heartbeat), ("missed", dict[str, int])),
    ),
    Endpoint(
        "POST",
        "/v1/shutdown",
        Api.shut_down,
        "End the hive; workers go on, downloads stay wanted.",
        Ending,
        None,
        202,
    ),
)


class Dispatch:
    """An ASGI application that hands each request to its endpoint; raises Refused for one without."""

    def __init__(self, api: Api) -> None:
        self.routes = [_route(api, each) for each in ENDPOINTS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        others: set[str] = set()
        for route in self.routes:
            match, more = route.matches(scope)
            if match is Match.FULL:
                scope.update(more)
                await route.handle(scope, receive, send)
                return
            if match is Match.PARTIAL:
                others |= route.methods or set()
        path = clean(scope["path"])
        if others:
            raise Refused(405, "method", f"{path} takes {' or '.join(sorted(others))}")
        raise Refused(404, "not_found", f"there is no {path}", "/openapi.json has every path")


def _route(api: Api, endpoint: Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        return await endpoint.answer(api, request)

    return Route(endpoint.path, answer, methods=[endpoint.method])
