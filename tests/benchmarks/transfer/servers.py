"""The benchmark's servers: a Hub that only redirects, nginx as its storage, one that limits and delays."""

import hashlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Listing:
    """The files of the benchmark's repositories, with their hashes."""

    def __init__(self, www: Path) -> None:
        self.www = www
        self.repos: dict[str, dict[str, tuple[int, str]]] = {}

    def add(self, repo: str, name: str) -> None:
        """Take up a file that lies in `www/<repo>`."""
        path = self.www / repo / name
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.repos.setdefault(repo, {})[name] = (path.stat().st_size, digest)


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    listing: ClassVar[Listing]
    storage: ClassVar[list[str]]
    first_asked: ClassVar[list[float]]
    delay: ClassVar[list[float]]

    def do_GET(self) -> None:
        """The API, or the redirect to the storage."""
        time.sleep(self.delay[0])
        path = urlsplit(self.path).path.strip("/")
        if path.startswith("api/models/"):
            self._api(path.removeprefix("api/models/").split("/"))
            return
        repo, _, rest = path.partition("/resolve/")
        name = rest.partition("/")[2]
        if repo not in self.listing.repos:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not self.first_asked:
            self.first_asked.append(time.monotonic())
        size, digest = self.listing.repos[repo][name]
        self.send_response(302)
        for key, value in {
            "Location": f"{self.storage[0]}/{repo}/{name}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": size,
            "X-Linked-Etag": f'"{digest}"',
            "ETag": f'"{digest}"',
            "Accept-Ranges": "bytes",
            "Content-Length": 0,
        }.items():
            self.send_header(key, str(value))
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _api(self, words: list[str]) -> None:
        repo = "/".join(words[:2])
        files = self.listing.repos[repo]
        found: Any
        if "tree" in words:
            found = [
                {"type": "file", "path": n, "size": s, "oid": "0" * 40, "lfs": _lfs(d, s, "oid")}
                for n, (s, d) in files.items()
            ]
        else:
            siblings = [
                {"rfilename": n, "size": s, "blobId": "0" * 40, "lfs": _lfs(d, s, "sha256")}
                for n, (s, d) in files.items()
            ]
            found = {
                "_id": "0" * 24,
                "id": repo,
                "modelId": repo,
                "sha": COMMIT,
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "private": False,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": siblings,
            }
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _lfs(digest: str, size: int, key: str) -> dict[str, Any]:
    return {key: digest, "size": size, "pointerSize": 134}


class Hub:
    """A Hub on loopback; `storage` may be changed between two runs, `delay` is in seconds for each answer."""

    def __init__(self, listing: Listing) -> None:
        self._handler = type(
            "OneHub", (_Hub,), {"listing": listing, "storage": [""], "first_asked": [], "delay": [0.0]}
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def aim(self, storage: str, delay: float = 0.0) -> None:
        """Redirect there from now on."""
        self._handler.storage[:] = [storage]
        self._handler.delay[:] = [delay]
        self._handler.first_asked.clear()

    @property
    def first_asked(self) -> float | None:
        """When a file was first asked for since `aim()`, monotonic seconds."""
        return self._handler.first_asked[0] if self._handler.first_asked else None


CONFIG = """
daemon off;
worker_processes 2;
pid {scratch}/nginx.pid;
error_log {scratch}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    sendfile_max_chunk 2m;
    tcp_nopush on;
    keepalive_requests 100000;
    client_body_temp_path {scratch}/t1;
    proxy_temp_path {scratch}/t2;
    fastcgi_temp_path {scratch}/t3;
    uwsgi_temp_path {scratch}/t4;
    scgi_temp_path {scratch}/t5;
    server {{ listen 127.0.0.1:{plain}; root {www}; }}
    server {{
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {scratch}/cert.pem;
        ssl_certificate_key {scratch}/key.pem;
        root {www};
    }}
}}
"""


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(www: Path, scratch: Path) -> Iterator[tuple[int, int]]:
    """Debian's nginx over plain HTTP and over TLS: its two ports."""
    files = ["-keyout", str(scratch / "key.pem"), "-out", str(scratch / "cert.pem")]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name, *files]
    subprocess.run(words, check=True, capture_output=True)
    plain, tls = free_port(), free_port()
    config = scratch / "nginx.conf"
    config.write_text(CONFIG.format(scratch=scratch, www=www, plain=plain, tls=tls))
    scratch.chmod(0o755)
    with subprocess.Popen(["nginx", "-c", config, "-p", scratch]) as process:
        try:
            _wait(plain)
            _wait(tls)
            yield plain, tls
        finally:
            process.terminate()


def _wait(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


class Paced:
    """A storage that gives each connection the same rate without any burst, and answers after a while.

    nginx's `limit_rate` lets about a second's worth through at once in each request, which would flatter
    whoever asks often. With `slow`, the second connection gets a quarter.
    """

    _SLICE = 0.02

    def __init__(self, www: Path, rate: float | None, delay: float = 0.0, *, slow: bool = False) -> None:
        self._www = www
        self._rate = rate
        self._delay = delay
        self._slow = slow
        self._count = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            rate = self._rate and (self._rate / 4 if self._slow and self._count == 2 else self._rate)
            threading.Thread(target=self._serve, args=(connection, rate), daemon=True).start()

    def _serve(self, connection: socket.socket, rate: float | None) -> None:
        # As nginx does: else the last bytes of an answer wait up to 40 ms until the rest is acknowledged.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A send buffer of a slice, or the kernel would take a burst.
        if rate:
            size = max(64 << 10, int(rate * self._SLICE))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        raw = b""
        with connection:
            try:
                while True:
                    while b"\r\n\r\n" not in raw:
                        more = connection.recv(65536)
                        if not more:
                            return
                        raw += more
                    head, _, raw = raw.partition(b"\r\n\r\n")
                    self._answer(connection, head.decode("latin-1"), rate)
            except OSError:
                return

    def _answer(self, connection: socket.socket, head: str, rate: float | None) -> None:
        time.sleep(self._delay)
        lines = head.split("\r\n")
        method, path = lines[0].split(" ")[:2]
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        with (self._www / path.strip("/")).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start, end, status = 0, size, "200 OK"
            if headers.get("range", "").startswith("bytes="):
                first, _, last = headers["range"][6:].partition("-")
                start, end, status = int(first), int(last) + 1 if last else size, "206 Partial Content"
            answer = f"HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\nAccept-Ranges: bytes\r\n"
            answer += f'ETag: "{size}"\r\n'
            if status[:3] == "206":
                answer += f"Content-Range: bytes {start}-{end - 1}/{size}\r\n"
            connection.sendall(f"{answer}\r\n".encode())
            if method == "GET":
                self._send(connection, file.fileno(), start, end, rate)

    def _send(self, connection: socket.socket, file: int, start: int, end: int, rate: float | None) -> None:
        began, first = time.monotonic(), start
        step = int(rate * self._SLICE) if rate else 4 << 20
        while start < end:
            start += os.sendfile(connection.fileno(), file, start, min(step, end - start))
            if rate and (early := (start - first) / rate - (time.monotonic() - began)) > 0:
                time.sleep(early)
