"""An ASGI application on a free loopback port, served from a thread."""

import socket
import threading
import time
from typing import Any

from rbee_tui.engine.errors import NetworkError

_START_SECONDS = 10.0


class Serving:
    """A running server; `url` is its origin."""

    def __init__(self, app: Any) -> None:
        import uvicorn  # noqa: PLC0415 - 100 ms that only a served Hub pays

        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="rbee-demo", daemon=True
        )

    def start(self) -> None:
        """Start, and return once it answers; raises NetworkError when it does not."""
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                raise NetworkError("the demo's Hub did not start")
            time.sleep(0.005)

    def stop(self) -> None:
        """End it; connections that are still open are cut."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(_START_SECONDS)
        self._socket.close()
