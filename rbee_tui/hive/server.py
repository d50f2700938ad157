"""The HTTP server: uvicorn on a socket that is open already, its connections bounded, without its signals."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from rbee_tui.engine.errors import RbeeError
from rbee_tui.hive.connection import bounded
from rbee_tui.hive.limits import Limits

_POLL_SECONDS = 0.005


class Server(uvicorn.Server):
    """Serves an ASGI application until `should_exit`."""

    def __init__(self, app: Any, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=limits.connections,
                h11_max_incomplete_event_size=limits.head_bytes,
                timeout_graceful_shutdown=max(1, round(limits.goodbye_seconds)),
            )
        )

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to whoever runs the hive."""
        yield

    async def ready(self, serving: "asyncio.Task[None]") -> None:
        """Wait until it answers; raises RbeeError where it ended instead."""
        while not self.started:
            if serving.done():
                raise RbeeError("the HTTP server did not start") from serving.exception()
            await asyncio.sleep(_POLL_SECONDS)
