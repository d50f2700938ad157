"""One connection's work, in a thread of its own that another may cut or abandon at any moment."""

import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.transfer.patience import Fault
from rbee_tui.engine.transfer.sink import Sink, Stream
from rbee_tui.engine.transfer.source import Limits
from rbee_tui.engine.transfer.spans import Gap

if TYPE_CHECKING:
    from rbee_tui.engine.transfer.wire import Body, Wire

_HOLD_SECONDS = 0.02


class Line:
    """The sockets of one attempt. Cutting them ends a blocked read, handshake or wait for headers at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: list[socket.socket] = []
        self._is_cut = False

    def attach(self, connection: socket.socket) -> socket.socket:
        """Take note of a new connection; raises ConnectionAbortedError when the line was cut already."""
        with self._lock:
            if self._is_cut:
                connection.close()
                raise ConnectionAbortedError
            # A copy of the descriptor: TLS takes the socket object over, and a closed number may be reused.
            self._copies.append(socket.socket(fileno=os.dup(connection.fileno())))
        return connection

    def cut(self) -> None:
        """End every connection of the line, and those to come."""
        with self._lock:
            self._is_cut = True
            for copy in self._copies:
                try:
                    copy.shutdown(socket.SHUT_RDWR)
                except OSError:
                    # The other side was quicker.
                    continue

    def close(self) -> None:
        """Let go of the copies."""
        with self._lock:
            self._is_cut = True
            for copy in self._copies:
                copy.close()
            self._copies.clear()


class Attempt:
    """Fetches one gap over one connection. Its counters may be read from outside at any time."""

    def __init__(self, wire: "Wire", sink: Sink, gap: Gap, limits: Limits) -> None:
        self.finished = threading.Event()
        self.arrived = 0
        self.busy = False
        """Whether it keeps the server waiting: the disk or the hash is behind."""
        self.connected = False
        self._wire = wire
        self._sink = sink
        self._gap = gap
        self._limits = limits
        self._line = Line()
        self._result: Exception | None = None
        self._cut_because: Fault | None = None
        self._abandoned = False
        self._stream: Stream | None = None
        self._touching = threading.Lock()
        threading.Thread(target=self._run, name="rbee-fetch", daemon=True).start()

    @property
    def outcome(self) -> Fault | None:
        """The fault that ended it, None when the gap is filled; raises the error that no retry can help."""
        if self._result is None:
            return None
        if isinstance(self._result, Fault):
            return self._cut_because or self._result
        raise self._result

    def cut(self, because: Fault) -> None:
        """End the connection; the outcome is this fault."""
        self._cut_because = because
        self._line.cut()

    def abandon(self) -> None:
        """End the connection and keep its thread from the file; does not wait for the network."""
        self._line.cut()
        with self._touching:
            self._abandoned = True
            # The journal may be on a full disk: why the transfer ends is known already.
            with suppress(RbeeError):
                self._leave()

    def _leave(self) -> None:
        """Let the journal know of the last bytes, once."""
        stream, self._stream = self._stream, None
        if stream:
            self._sink.leave(stream)

    def _run(self) -> None:
        try:
            body = self._wire.open(self._gap, self._line)
            try:
                self.connected = True
                self._pour(body)
            finally:
                self.connected = False
                body.close()
        except (Fault, RbeeError) as error:
            self._result = error
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that asks for the outcome
            self._result = error
        finally:
            self._line.close()
            self.finished.set()

    def _pour(self, body: "Body") -> None:
        self._skip(body)
        with self._touching:
            if self._abandoned:
                return
            stream = self._stream = self._sink.stream(self._gap.start)
        try:
            while stream.position < self._gap.end:
                self._hold()
                data = self._read(body, min(self._limits.read, self._gap.end - stream.position))
                if not self._write(stream, data):
                    return
        finally:
            with self._touching:
                self._leave()

    def _skip(self, body: "Body") -> None:
        """Read past what is there already: this server sends the file from its beginning only."""
        left = body.skip
        while left > 0:
            left -= len(self._read(body, min(self._limits.read, left)))

    def _read(self, body: "Body", count: int) -> bytes:
        data = body.read(count)
        if not data:
            raise Fault("network", "the connection ended before the file did")
        self.arrived += len(data)
        return data

    def _write(self, stream: Stream, data: bytes) -> bool:
        self.busy = True
        try:
            with self._touching:
                if not self._abandoned:
                    self._sink.write(stream, memoryview(data))
                return not self._abandoned
        finally:
            self.busy = False

    def _hold(self) -> None:
        while not self._abandoned and self._sink.crowded():
            self.busy = True
            time.sleep(_HOLD_SECONDS)
        self.busy = False
