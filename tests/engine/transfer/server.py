"""A Hub and its storage on loopback, in raw sockets: what real servers do, and what hostile ones may."""

import hashlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from rbee_tui.engine.transfer import Fetched, Limits, Progress, Source, fetch, journal_path

FAST = Limits(
    grid=64 << 10,
    piece=8 << 10,
    read=16 << 10,
    connect=1.0,
    stall=0.4,
    trickle=256,
    patience=2.0,
    retries=4,
    refresh=16 << 10,
    backoff_first=0.02,
    backoff_longest=0.1,
    retry_after_longest=0.2,
    retry_after_cut=0.2,
    poll=0.02,
    checkpoint_bytes=64 << 10,
    checkpoint_seconds=0.05,
)
"""Limits that let a test see in a second what takes a minute in earnest."""

MANY = msgspec.structs.replace(
    FAST,
    segment=64 << 10,
    segment_shortest=64 << 10,
    steal=8 << 10,
    connections_first=4,
    connections_most=4,
    window=0.1,
    slow_seconds=0.3,
)
"""The same with several connections for a small file."""

TOKEN = "hf_canary_of_the_tests"


def content(seed: int, size: int = 300_000) -> bytes:
    """Bytes that no two seeds share."""
    return random.Random(seed).randbytes(size)


@dataclass
class Exchange:
    """One request, and the means to answer it in any way."""

    server: "Hub"
    at: str
    """`hub`, `cdn` or `foreign`."""
    sock: socket.socket
    path: str
    headers: dict[str, str]

    @property
    def span(self) -> tuple[int, int] | None:
        """The Range that was asked for as [start, end); None without one."""
        text = self.headers.get("range", "")
        if not text.startswith("bytes="):
            return None
        first, _, last = text[6:].partition("-")
        return int(first), int(last) + 1

    def head(self, status: int, **headers: object) -> None:
        """Send a status line and headers; names are written with underscores."""
        lines = [f"HTTP/1.1 {status} Whatever", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def body(self, data: bytes, *, counted: bool = True) -> None:
        """Send bytes of a body, at the server's rate of each moment; counts what the kernel has taken."""
        at = 0
        while at < len(data):
            rate = self.server.rate
            piece = data[at : at + max(1, min(64 << 10, (rate or 1 << 40) // 50))]
            self.sock.sendall(piece)
            at += len(piece)
            if counted:
                with self.server.lock:
                    self.server.sent += len(piece)
            if rate:
                self.server.closing.wait(len(piece) / rate)

    def stall(self) -> None:
        """Keep the connection, send nothing more, until the other side or the test ends."""
        self.sock.settimeout(0.05)
        while not self.server.closing.is_set():
            try:
                if not self.sock.recv(1):
                    return
            except TimeoutError:
                continue

    def reset(self) -> None:
        """End the connection with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def serve(self) -> None:
        """Answer as a sane storage does."""
        data = self.server.data
        span = self.span
        if span is None or (self.headers.get("if-range", self.server.etag) != self.server.etag):
            self.head(200, Content_Length=len(data), ETag=self.server.etag, Accept_Ranges="bytes")
            self.body(data)
            return
        start, end = span
        self.head(
            206,
            Content_Length=end - start,
            Content_Range=f"bytes {start}-{end - 1}/{len(data)}",
            ETag=self.server.etag,
        )
        self.body(data[start:end])


Act = Callable[[Exchange], None]


@dataclass
class Behaviour:
    """What a server does instead of answering; `times` is how often, None for ever, after `skip` requests."""

    act: Act
    at: str = "cdn"
    times: int | None = None
    skip: int = 0


@dataclass
class Hub:
    """A Hub, its storage on another origin, and a third, foreign origin; counts the bytes that it sends."""

    data: bytes
    rate: int | None = None
    behaviour: Behaviour | None = None
    repo: str = "owner/tiny"
    path: str = "model.gguf"
    etag: str = '"storage-etag-1"'
    redirect: bool = True
    host: str = "127.0.0.1"
    sent: int = 0
    requests: list[Exchange] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _acted: int = 0
    _seen: int = 0

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listeners = {
            at: socket.create_server((self.host, 0), family=family) for at in ("hub", "cdn", "foreign")
        }
        self._threads = [
            threading.Thread(target=self._accept, args=(at, listener))
            for at, listener in self._listeners.items()
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for listener in self._listeners.values():
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        while self._threads:
            self._threads.pop().join(10)

    def forget(self) -> None:
        """Behave from now on, and count anew."""
        self.behaviour = None
        self._acted = self._seen = 0

    def url(self, at: str = "hub") -> str:
        """The address of one of the origins."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._listeners[at].getsockname()[1]}"

    @property
    def sha256(self) -> str:
        """The hash that the listing gives."""
        return hashlib.sha256(self.data).hexdigest()

    def source(self, **changes: object) -> Source:
        """The file as its listing has it."""
        facts = {
            "endpoint": self.url(),
            "repo": self.repo,
            "revision": "0" * 40,
            "path": self.path,
            "size_bytes": len(self.data),
            "sha256": self.sha256,
        }
        return Source(**{**facts, **changes})  # type: ignore[arg-type] - a table of mixed values

    def _accept(self, at: str, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=(at, sock))
            thread.start()
            self._threads.append(thread)

    def _handle(self, at: str, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(20)
            try:
                raw = b""
                while b"\r\n\r\n" not in raw:
                    more = sock.recv(65536)
                    if not more:
                        return
                    raw += more
                lines = raw.decode("latin-1").split("\r\n")
                pairs = (line.partition(":") for line in lines[1:] if line)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                exchange = Exchange(self, at, sock, lines[0].split(" ")[1], headers)
                with self.lock:
                    self.requests.append(exchange)
                    act = self._act(at)
                act(exchange)
            except OSError:
                return

    def _act(self, at: str) -> Act:
        found = self.behaviour
        if found and found.at == at:
            self._seen += 1
            if self._seen > found.skip and (found.times is None or self._acted < found.times):
                self._acted += 1
                return found.act
        return self._resolve if at == "hub" and self.redirect else Exchange.serve

    def _resolve(self, exchange: Exchange) -> None:
        exchange.head(
            302,
            Location=f"{self.url('cdn')}/blob?X-Amz-Signature={len(self.requests)}",
            X_Linked_Size=len(self.data),
            X_Linked_Etag=f'"{self.sha256}"',
            X_Repo_Commit="0" * 40,
            Content_Length=0,
        )


@dataclass
class Place:
    """Where one file of a test arrives."""

    directory: Path

    @property
    def part(self) -> Path:
        return self.directory / "tmp" / "model.part"

    @property
    def journal(self) -> Path:
        return journal_path(self.part)

    @property
    def target(self) -> Path:
        return self.directory / "models" / "tiny" / "model.gguf"

    def prepare(self) -> "Place":
        """Make the directory for the part; the transfer makes the target's."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        return self

    def fetch(self, source: Source, **options: object) -> Fetched:
        """Fetch with the tests' limits."""
        chosen = {
            "part": self.part,
            "target": self.target,
            "token": TOKEN,
            "stop": threading.Event(),
            "progress": Progress(),
            "lock": self.directory / "tmp" / "lock",
            "limits": FAST,
            **options,
        }
        return fetch(source, **chosen)  # type: ignore[arg-type] - a table of mixed values

    def files(self) -> set[str]:
        """Every file beneath the test's directory."""
        return {str(p.relative_to(self.directory)) for p in self.directory.rglob("*") if not p.is_dir()}


@contextmanager
def running(
    hub: Hub, place: Place, **options: object
) -> Iterator[tuple[threading.Event, Progress, list[object]]]:
    """A fetch in a thread: its stop event, its progress, and a list that gets its result or its error."""
    stop, progress, results = threading.Event(), Progress(), list[object]()

    def work() -> None:
        try:
            results.append(place.fetch(hub.source(), stop=stop, progress=progress, **options))
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield stop, progress, results
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; fails when it does not come true in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.005)
