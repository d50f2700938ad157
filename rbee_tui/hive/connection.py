"""One HTTP connection: uvicorn's, with a time for a request's head and a way to cut a stalled peer off."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from rbee_tui.hive.limits import Limits


class Connection(H11Protocol):
    """A request's `scope["state"]["cut"]()` ends its connection at once, whatever is still unsent."""

    limits: ClassVar[Limits] = Limits()
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] - as uvicorn's
        """Begin to wait for a request's head; one connection too many is cut."""
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {"cut": transport.abort}
        if len(self.connections) > 2 * self.limits.connections:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Rest once a head is there; uvicorn has stopped its own clock where a part of the next one is."""
        super().data_received(data)
        if self._is_answering():
            self._rest()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Rest."""
        self._rest()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.limits.head_seconds, self.transport.abort)

    def _rest(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def bounded(limits: Limits) -> type[Connection]:
    """The class of connections with these limits; uvicorn makes the objects."""
    return type("BoundedConnection", (Connection,), {"limits": limits})
