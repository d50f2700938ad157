"""A catalog with one worker in it, honest or with a fault, and a machine that trusts it."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine.artifacts import this_platform
from rbee_tui.engine.listing import bundle, signing
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing.format import Listing, Published
from rbee_tui.engine.listing.signing import Signed
from rbee_tui.engine.listing.store import Store
from tests.engine.workers.test_install import make_wheel

ID = "llm-worker-lan"
VERSION = "9.9.1"


def entry(**changes: Any) -> Published:
    """An entry for a bundle of this machine's platform."""
    made = Published(
        id=ID,
        name="LAN worker",
        version=VERSION,
        worker_type="cpu",
        platforms=(this_platform(),),
        runtime="xllamacpp",
        size_bytes=0,
        sha256="0" * 64,
        filename=f"{ID}.bundle.tar",
        kind="bundle",
    )
    return msgspec.structs.replace(made, **changes)


def make_bundle(place: Path, version: str = VERSION) -> Path:
    """A bundle with a stand-in for xllamacpp in it."""
    place.mkdir(exist_ok=True)
    make_wheel(place, version)
    target = place / "bundle.tar"
    bundle.pack(place.glob("*.whl"), target)
    return target


@dataclass
class Answer:
    """What the server says to a path."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    endless: int = 0
    """So many bytes come instead of the body, without a length."""


class Catalog:
    """A catalog server whose every byte a test may choose; it begins as an honest one."""

    def __init__(self, place: Path) -> None:
        self.store = Store(place / "store").prepare()
        self.published = self.store.publish(entry(), make_bundle(place / "wheels"))
        self.answers: dict[str, Answer] = {}
        self.sent = 0
        self.url = ""
        self.show(self.store.signed())
        self.send(self.store.file(self.published).read_bytes())

    @property
    def key(self) -> str:
        """The key that clients trust."""
        return self.store.key()

    @property
    def listing(self) -> Listing:
        """What is published."""
        listing = self.store.listing()
        assert listing
        return listing

    def show(self, signed: Signed) -> None:
        """Answer with this listing."""
        headers = {"x-rbee-signature": signed.signature, "x-rbee-key": signed.key}
        self.answers["/workers"] = Answer(headers=headers, body=signed.body)

    def sign(self, listing: Listing | bytes, key: Path | None = None) -> Signed:
        """Sign a listing as the catalog would, or with another key."""
        body = listing if isinstance(listing, bytes) else form.encode(listing)
        return signing.sign(key or self.store.key_path, body)

    def offer(self, **changes: Any) -> None:
        """Show a listing whose one entry says something else, rightly signed."""
        changed = msgspec.structs.replace(self.published, **changes)
        self.show(self.sign(self.changed(workers=(changed,))))

    def changed(self, **changes: Any) -> Listing:
        """The listing with something changed, of a version above all that tests let be seen."""
        return msgspec.structs.replace(self.listing, **({"version": self.listing.version + 2} | changes))

    def send(self, content: bytes, worker_id: str = ID) -> None:
        """Answer with this file."""
        self.answers[f"/workers/{worker_id}/download"] = Answer(body=content)

    def send_bundle(self, content: bytes) -> None:
        """Send and list another bundle: whoever has the key may do so."""
        self.send(content)
        self.offer(size_bytes=len(content), sha256=_sha256(content))

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on loopback; the URL."""
        catalog = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                answer = catalog.answers.get(self.path, Answer(404, body=b"{}"))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if not answer.endless:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                try:
                    self.wfile.write(answer.body)
                    while answer.endless > catalog.sent:
                        catalog.sent += self.wfile.write(b"x" * (1 << 20))
                except OSError:
                    pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _sha256(content: bytes) -> str:

    return hashlib.sha256(content).hexdigest()


def in_days(days: float) -> str:
    """A moment so far from now, as a listing says it."""
    return form.moment(datetime.now(UTC) + timedelta(days=days))
