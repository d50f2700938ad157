"""The worker catalog server: three endpoints over a store, read-only, and a health check.

It sends what anybody may have who reaches it, and changes nothing: so it asks for no token, and a web page
that reaches it through a forged name learns what a listing says and no more.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from rbee_tui.engine.errors import BusyError, NotFoundError, RbeeError
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing.catalogs import KEY_HEADER, SIGNATURE_HEADER
from rbee_tui.engine.listing.format import Listing, Published
from rbee_tui.engine.listing.signing import Signed
from rbee_tui.engine.listing.store import Store, watcher
from rbee_tui.engine.listing.trust import digest
from rbee_tui.engine.text import clean

_RENEW_SECONDS = 3600.0
_STARTED_SECONDS = 0.01
_LEAVE_SECONDS = 5
_HEADERS_BYTES = 16 << 10
_ERRORS = {
    404: ("not_found", "there are /workers, /workers/ID, /workers/ID/download and /health"),
    405: ("method_not_allowed", "{} is not done here, only GET and HEAD"),
}


def application(store: Store) -> Starlette:
    """The server's three endpoints and its health, over what is published in a store at each moment."""
    current = watcher(store)
    server = _Server(store, current)
    methods = ["GET", "HEAD"]
    return Starlette(
        routes=[
            Route("/workers", server.listing, methods=methods),
            Route("/workers/{id}", server.entry, methods=methods),
            Route("/workers/{id}/download", server.download, methods=methods),
            Route("/health", server.health, methods=methods),
        ],
        exception_handlers={HTTPException: _refusal, RbeeError: _trouble},
    )


class _Server:
    """The endpoints."""

    def __init__(self, store: Store, current: Callable[[], Signed]) -> None:
        self._store = store
        self._current = current

    def listing(self, request: Request) -> Response:
        """The signed listing: exactly the bytes that were signed."""
        try:
            signed = self._current()
        except NotFoundError:
            return JSONResponse({"workers": []})
        tag = f'"{digest(signed)}"'
        headers = {
            SIGNATURE_HEADER: signed.signature,
            KEY_HEADER: signed.key,
            "ETag": tag,
            "Cache-Control": "no-cache",
        }
        if _knows(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(signed.body, media_type="application/json", headers=headers)

    def entry(self, request: Request) -> Response:
        """One entry of it, for a reader; what is installed is taken from the signed listing."""
        return JSONResponse(msgspec.to_builtins(self._find(request)))

    def download(self, request: Request) -> Response:
        """An entry's file, or a range of it."""
        entry = self._find(request)
        path = self._store.file(entry)
        tag = f'"{entry.sha256}"'
        if _knows(request, tag):
            return Response(status_code=304, headers={"ETag": tag})
        if not path.is_file() or path.stat().st_size != entry.size_bytes:
            raise HTTPException(404, f"the file of {entry.id} is not here, or not whole: publish it again")
        return FileResponse(
            path,
            media_type="application/octet-stream",
            filename=entry.filename,
            headers={"ETag": tag, "Cache-Control": "no-cache"},
        )

    def health(self, request: Request) -> Response:
        """Whether it answers."""
        del request
        return JSONResponse({"status": "ok"})

    def _find(self, request: Request) -> Published:
        worker_id = request.path_params["id"]
        if not form.is_id(worker_id):
            raise HTTPException(400, "an id has 1 to 100 of the characters a-z, 0-9 and -")
        listing: Listing | None = None
        with contextlib.suppress(NotFoundError):
            listing = _decoded(self._current().body)
        for entry in listing.workers if listing else ():
            if entry.id == worker_id:
                return entry
        raise HTTPException(404, f"there is no worker {worker_id}; GET /workers lists them")


@functools.lru_cache(maxsize=1)
def _decoded(body: bytes) -> Listing:
    """The listing that is served, decoded once: whoever installs asks for each part of each file."""
    return form.decode(body)


def _knows(request: Request, tag: str) -> bool:
    """Whether the client has these bytes already."""
    return tag in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker: it is registered for these
    name, usual = _ERRORS.get(error.status_code, ("bad_request", ""))
    # Starlette's own refusals say the status again and no more.
    bare = error.detail == HTTPStatus(error.status_code).phrase
    message = usual.format(request.method) if bare else error.detail
    return JSONResponse({"error": name, "message": message}, error.status_code, headers=error.headers)


def _trouble(request: Request, error: Exception) -> Response:
    del request
    code = error.code if isinstance(error, RbeeError) else "failed"
    return JSONResponse({"error": code, "message": str(error)}, 500)


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on; port 0 takes a free one. Raises BusyError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise BusyError(
            f"{clean(host)} port {port} cannot be had: {error.strerror or error}",
            hint="end the program that has it, or give another one with --port",
        ) from error


async def serve(
    store: Store,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Serve until `stop` is set, and keep the listing signed; `ready` is called once it answers."""
    import uvicorn  # noqa: PLC0415 - a busy port is told without it

    config = uvicorn.Config(
        application(store),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_LEAVE_SECONDS,
        h11_max_incomplete_event_size=_HEADERS_BYTES,
        server_header=False,
    )
    server = uvicorn.Server(config)
    # Signals are the command's, which sets `stop`.
    setattr(server, "capture_signals", contextlib.nullcontext)  # noqa: B010 - its type is narrower than its use
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    renewing = asyncio.create_task(_keep_signed(store, say))
    ending = asyncio.create_task(stop.wait())
    try:
        while not (server.started or serving.done()):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_STARTED_SECONDS)
        ready()
        await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        renewing.cancel()
        ending.cancel()
        await asyncio.gather(serving, renewing, ending, return_exceptions=True)


async def _keep_signed(store: Store, say: Callable[[str], None]) -> None:
    """Sign the listing anew from time to time: clients refuse one that has expired."""
    while True:
        try:
            if await asyncio.to_thread(store.renew, datetime.now(UTC)):
                say("the listing was signed anew")
        except RbeeError as error:
            say(f"the listing could not be signed anew: {error}")
        await asyncio.sleep(_RENEW_SECONDS)
