"""One connection's work, in a thread of its own that another may cut or abandon at any moment."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.meter import Meter
from rbee_tui.engine.transfer import priority
from rbee_tui.engine.transfer.gauge import Peer
from rbee_tui.engine.transfer.patience import Fault
from rbee_tui.engine.transfer.segments import Segment
from rbee_tui.engine.transfer.sink import Sink, Stream
from rbee_tui.engine.transfer.source import Limits
from rbee_tui.engine.transfer.spans import Gap
from rbee_tui.engine.transfer.throttle import Throttle

if TYPE_CHECKING:
    from rbee_tui.engine.transfer.wire import Body, Link, Wire

_HOLD_SECONDS = 0.02
_FAST = 4_000_000  # bytes per second: half a MiB is there in no time
_SLOW = 1_000_000
_YOUNG_SECONDS = 2.0  # nobody knows yet how quick it is
_READ, _SLOW_READ = 64 << 10, 16 << 10
_GATHER_SECONDS = 0.002  # each read costs as much as copying 64 KiB
_BUSY_SECONDS = 0.05  # an ordinary write is no reason to excuse a server


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

    @property
    def peer(self) -> Peer | None:
        """The other end of its last connection, which brings the file; those before it led there."""
        with self._lock, suppress(OSError):
            return self._copies[-1].getpeername() if self._copies else None
        return None

    def fit(self, buffer: int) -> None:
        """Give the connection that brings the file a receive buffer of so many bytes, while it runs."""
        with self._lock, suppress(OSError):
            if self._copies:
                self._copies[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)

    def close(self) -> None:
        """Let go of the copies."""
        with self._lock:
            self._is_cut = True
            for copy in self._copies:
                copy.close()
            self._copies.clear()


class Supply(Protocol):
    """Whoever hands out work: asked from the attempt's own thread."""

    def next_segment(self, attempt: "Attempt") -> Segment | None:
        """What to fetch next; None when there is nothing left to do."""
        ...

    def answered(self, attempt: "Attempt", *, whole: bool) -> None:
        """Headers came; `whole`: of the whole file, though a part of it was asked for."""
        ...


class Attempt:
    """Fetches segments over one connection. Its counters may be read from outside at any time."""

    def __init__(  # noqa: PLR0913 - what it needs from the start
        self,
        wire: "Wire",
        sink: Sink,
        segment: Segment,
        supply: Supply,
        limits: Limits,
        changed: Callable[[], None],
        *,
        throttles: Sequence[Throttle] = (),
        buffer: int | None = None,
        most: int,
    ) -> None:
        self.finished = threading.Event()
        self.began = time.monotonic()
        self.arrived = 0
        self.connected = False
        self.asking = 0.0
        """Seconds from the last request to its headers."""
        self.meter = Meter()
        """Its rate; updated by whoever watches it."""
        self.segment: Segment | None = segment
        self.retiring = False
        """Whether it ends after its segment."""
        self._sink = sink
        self._supply = supply
        self._limits = limits
        self._changed = changed
        self._line = Line()
        self._link: Link = wire.link(self._line, buffer)
        self._throttles = throttles
        self.most = most
        """How many bytes it may read at once; may be changed from outside at any time."""
        self._ended = threading.Event()
        """Set when it was cut or abandoned: no wait of its own goes on."""
        self._result: Exception | None = None
        self.cut_because: Fault | None = None
        """Why somebody has ended its connection."""
        self._abandoned = False
        self._busy_since = 0.0
        self._stream: Stream | None = None
        self._touching = threading.Lock()
        threading.Thread(target=self._run, name="rbee-fetch", daemon=True).start()

    @property
    def outcome(self) -> Fault | None:
        """The fault that ended it, None for want of work; raises an error that nothing can help."""
        if self._result is None:
            return None
        if isinstance(self._result, Fault):
            return self.cut_because or self._result
        raise self._result

    @property
    def busy(self) -> bool:
        """Whether it keeps the server waiting: the disk or the hash is behind."""
        return 0.0 < self._busy_since < time.monotonic() - _BUSY_SECONDS

    def cut(self, because: Fault) -> None:
        """End the connection; the outcome is this fault."""
        self.cut_because = because
        self._ended.set()
        self._line.cut()

    def abandon(self) -> None:
        """End the connection and keep its thread from the file; does not wait for the network."""
        self._ended.set()
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
        priority.yield_by(priority.RECEIVE)
        try:
            while (segment := self.segment) is not None:
                self._fetch(segment)
                if self._abandoned or self._supply.next_segment(self) is None:
                    return
        except (Fault, RbeeError) as error:
            self._result = error
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that asks for the outcome
            self._result = error
        finally:
            self.connected = False
            self.segment = None
            self._link.close()
            self._line.close()
            self.finished.set()
            self._changed()

    def _fetch(self, segment: Segment) -> None:
        gap, asked = Gap(segment.position, segment.end), time.monotonic()
        if gap.start >= gap.end:
            return
        body = self._link.open(gap)
        try:
            self.asking = time.monotonic() - asked
            self.connected = True
            self._supply.answered(self, whole=body.whole)
            self._pour(body, segment)
        finally:
            body.close()

    def _pour(self, body: "Body", segment: Segment) -> None:
        self._skip(body)
        with self._touching:
            if self._abandoned:
                return
            stream = self._stream = self._sink.stream(segment.position)
        try:
            while segment.left > 0:
                self._hold()
                # Without a name for what was read: it would still be held while the next is.
                if not self._write(stream, segment, self._read(body, min(self._chunk(), segment.left))):
                    return
        finally:
            with self._touching:
                self._leave()

    def _skip(self, body: "Body") -> None:
        """Read past what is there already: this server sends the file from its beginning only."""
        left = body.skip
        while left > 0:
            left -= len(self._read(body, min(self._chunk(), left)))

    def _chunk(self) -> int:
        rate = self.meter.rate
        slow = rate < _SLOW and time.monotonic() - self.began > _YOUNG_SECONDS
        most = self.most if rate >= _FAST else min(self.most, _SLOW_READ if slow else _READ)
        for throttle in self._throttles:
            most = throttle.chunk(most)
        return most

    def _read(self, body: "Body", count: int) -> bytes:
        data = body.read(max(1, count), int(self.meter.rate * _GATHER_SECONDS))
        if not data:
            raise Fault("network", "the connection ended before the file did")
        self.arrived += len(data)
        for throttle in self._throttles:
            wait = throttle.charge(len(data), time.monotonic())
            if wait > 0:
                self._busy_since = time.monotonic()
                self._ended.wait(wait)
        return data

    @property
    def peer(self) -> Peer | None:
        """Who it is connected with; None while it is not."""
        return self._line.peer

    def fit(self, buffer: int) -> None:
        """Change its receive buffer, in bytes, while it runs."""
        self._link.buffer = buffer
        self._line.fit(buffer)

    def _write(self, stream: Stream, segment: Segment, data: bytes) -> bool:
        """Write what is still its own of what was read; False when it is to stop."""
        self._busy_since = time.monotonic()
        try:
            with self._touching:
                if not self._abandoned:
                    own = segment.claim(len(data))
                    self._sink.write(stream, memoryview(data)[:own])
                return not self._abandoned
        finally:
            self._busy_since = 0.0

    def _hold(self) -> None:
        while not self._abandoned and self._sink.crowded():
            self._busy_since = self._busy_since or time.monotonic()
            time.sleep(_HOLD_SECONDS)
        self._busy_since = 0.0
