"""What hostile and tired servers do, one row each, and how a transfer may end that meets it."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.transfer import Fetched, Stopped
from tests.engine.transfer.server import (
    FAST,
    MANY,
    TOKEN,
    Act,
    Behaviour,
    Exchange,
    Hub,
    Place,
    content,
    running,
    wait_until,
)

SECONDS = 12.0
"""The longest that any of these may take with the tests' limits."""

ALLOWED = {
    "tmp/lock",
    "tmp/model.part",
    "tmp/model.part.journal",
    "models/tiny/model.gguf",
    "models/tiny/.model.gguf.blocks",
}


@dataclass(frozen=True)
class Row:
    """One behaviour: where it happens, and how a transfer ends when it happens once and when it stays."""

    act: Act
    at: str = "cdn"
    once: str = "right"
    always: str = "error"
    parts: str = ""
    """How it ends where the file is asked for in parts, if otherwise."""
    cut_first: bool = False
    """The first connection ends halfway, so that the behaviour meets a Range."""
    longer: int | None = None
    """By how much the size that a HEAD told is off, on a mirror that gives no hash; None: it is as listed."""


def _ranged(start: int, end: int, total: int) -> Act:
    """A 206 whose Content-Range is off by the given amounts."""

    def act(x: Exchange) -> None:
        first, last = x.span or (0, len(x.server.data))
        x.head(
            206,
            Content_Range=f"bytes {first + start}-{last - 1 + end}/{len(x.server.data) + total}",
            Content_Length=last - first,
        )
        x.body(x.server.data[first:last])

    return act


def _served(change: Callable[[bytes], bytes], declared: int = 0) -> Act:
    """The range or file that was asked for, changed; its length is declared with an offset."""

    def act(x: Exchange) -> None:
        total = len(x.server.data)
        start, end = x.span or (0, total)
        headers = {"Content_Range": f"bytes {start}-{end - 1}/{total}"} if x.span else {}
        x.head(206 if x.span else 200, Content_Length=end - start + declared, **headers)
        x.body(change(x.server.data[start:end]))

    return act


def _flipped(data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def _range_ignored(x: Exchange) -> None:
    x.head(200, Content_Length=len(x.server.data))
    x.body(x.server.data)


def _other_file_under_200(x: Exchange) -> None:
    x.head(200, Content_Length=len(x.server.data))
    x.body(content(1 << 20, len(x.server.data)))


def _new_etag(x: Exchange) -> None:
    x.server.etag = f'"etag-{random.random()}"'
    _served(lambda data: data[: len(data) // 2])(x)


def _reset(x: Exchange) -> None:
    _served(lambda data: data[: len(data) // 2])(x)
    x.reset()


def _reset_at_once(x: Exchange) -> None:
    x.reset()


def stall_in_body(x: Exchange) -> None:
    _served(lambda data: data[: len(data) // 2])(x)
    x.stall()


def _drip(x: Exchange, data: bytes) -> None:
    for at in range(len(data)):
        x.body(data[at : at + 1])
        if x.server.closing.wait(0.02):
            return


def _drip_body(x: Exchange) -> None:
    start, end = x.span or (0, len(x.server.data))
    _served(lambda _: b"")(x)
    _drip(x, x.server.data[start:end])


def _drip_headers(x: Exchange) -> None:
    _drip(x, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 5000)


def _gzip(x: Exchange) -> None:
    x.head(200, Content_Encoding="gzip", Content_Length=len(x.server.data))
    x.body(x.server.data)


def _chunked(data: bytes, *, end: bool = True) -> Act:
    def act(x: Exchange) -> None:
        start, stop = x.span or (0, len(x.server.data))
        headers = {"Content_Range": f"bytes {start}-{stop - 1}/{len(x.server.data)}"} if x.span else {}
        x.head(206 if x.span else 200, Transfer_Encoding="chunked", **headers)
        body = x.server.data[start:stop] + data
        for at in range(0, len(body), 50_000):
            piece = body[at : at + 50_000]
            x.body(b"%x\r\n%s\r\n" % (len(piece), piece))
        if end:
            x.body(b"0\r\n\r\n")

    return act


def to(url: Callable[[Exchange], str], **headers: object) -> Act:
    return lambda x: x.head(302, Location=url(x), Content_Length=0, **headers)


def _status(status: int, **headers: object) -> Act:
    return lambda x: x.head(status, Content_Length=0, **headers)


def _date(x: Exchange) -> None:
    x.head(429, Retry_After=formatdate(time.time() + 1, usegmt=True), Content_Length=0)


def first_signature_expired(x: Exchange) -> None:
    """The first address works for half of the file, and never again."""
    signatures = [each.path for each in x.server.requests if each.at == "cdn"]
    if x.path != signatures[0]:
        x.serve()
    elif len(signatures) == 1:
        _served(lambda data: data[: len(data) // 2])(x)
    else:
        _status(403)(x)


def _new_commit(x: Exchange) -> None:
    """Another version of the file, under the name of the commit that was pinned."""
    x.server.data = content(1 << 21, len(x.server.data))
    to(
        lambda x: x.server.url("cdn") + "/blob",
        X_Repo_Commit="1" * 40,
        X_Linked_Size=len(x.server.data),
        X_Linked_Etag=f'"{x.server.sha256}"',
    )(x)


def _no_etag(x: Exchange) -> None:
    _served(lambda data: data)(x)


def _big_headers(x: Exchange) -> None:
    x.sock.sendall(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 700) for n in range(95)))
    x.sock.sendall(b"Content-Length: %d\r\n\r\n" % len(x.server.data))
    x.body(x.server.data)


def _endless_header(x: Exchange) -> None:
    x.sock.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not x.server.closing.is_set():
        x.sock.sendall(b"z" * 65536)


def _nonsense(x: Exchange) -> None:
    x.sock.sendall(random.randbytes(500) + b"\r\n\r\n")


BEHAVIOURS = {
    "200 for a Range": Row(_range_ignored, always="right", cut_first=True),
    "200 for a Range with other bytes": Row(_other_file_under_200, cut_first=True),
    "206 with a wrong start": Row(_ranged(-7, 0, 0), cut_first=True),
    "206 that overlaps": Row(_ranged(-100, 100, 0), cut_first=True),
    "206 with another total": Row(_ranged(0, 0, 1), cut_first=True),
    "206 with other bytes": Row(_served(lambda data: bytes(len(data))), cut_first=True),
    "206 unasked": Row(_ranged(0, 0, 0), parts="right"),
    "one flipped bit": Row(_served(_flipped)),
    "a new ETag midway": Row(_new_etag, always="either"),
    "a new commit midway": Row(_new_commit, at="hub", once="error", cut_first=True),
    "a new commit midway with the same bytes": Row(
        to(lambda x: x.server.url("cdn") + "/blob", X_Repo_Commit="1" * 40),
        at="hub",
        always="right",
        cut_first=True,
    ),
    "HEAD size larger than GET's": Row(Exchange.serve, at="hub", once="error", longer=7),
    "HEAD size smaller than GET's": Row(Exchange.serve, at="hub", once="error", longer=-7),
    "HEAD size smaller than GET's, chunked": Row(_chunked(b""), at="hub", once="error", longer=-7),
    "HEAD size larger than GET's, chunked": Row(_chunked(b""), at="hub", once="error", longer=7),
    "early FIN": Row(_served(lambda data: data[: len(data) // 2]), always="either"),
    "FIN before any byte": Row(_served(lambda _: b"")),
    "RST midway": Row(_reset, always="either"),
    "RST at once": Row(_reset_at_once),
    "RST at once, at the hub": Row(_reset_at_once, at="hub"),
    "bytes after Content-Length": Row(_served(lambda data: data + b"extra" * 999), always="right"),
    "a longer Content-Length": Row(
        _served(lambda data: data + b"e", declared=1), once="error", parts="either"
    ),
    "a shorter Content-Length": Row(
        _served(lambda data: data[:-1], declared=-1), once="error", parts="either"
    ),
    "stall for ever in the body": Row(stall_in_body, always="either"),
    "stall for ever before the headers": Row(Exchange.stall),
    "stall for ever at the hub": Row(Exchange.stall, at="hub"),
    "one byte now and then": Row(_drip_body),
    "headers one byte now and then": Row(_drip_headers),
    "headers one byte now and then, at the hub": Row(_drip_headers, at="hub"),
    "gzip": Row(_gzip, once="error"),
    "chunked without a length": Row(_chunked(b""), always="right"),
    "chunked, and more than the file": Row(_chunked(b"more" * 5000), always="right"),
    "chunked without an end": Row(_chunked(b"", end=False), always="right"),
    "redirect to itself": Row(to(lambda x: x.path), at="hub", once="right"),
    "redirect circle": Row(to(lambda x: x.server.url("hub") + x.path), at="cdn"),
    "redirect to a foreign host": Row(
        to(lambda x: x.server.url("foreign") + "/blob"), at="hub", always="right"
    ),
    "redirect to a file": Row(to(lambda _: "file:///etc/passwd"), at="hub", once="error"),
    "redirect to another protocol": Row(to(lambda _: "ftp://127.0.0.1/x"), at="hub", once="error"),
    "redirect to no host": Row(to(lambda _: "http://:80/blob"), at="hub", once="error"),
    "redirect to nonsense": Row(to(lambda _: "http://[::bad/"), at="hub", once="error"),
    "redirect with a password": Row(to(lambda _: "http://user:pw@127.0.0.1:9/"), at="hub", once="error"),
    "redirect to nowhere": Row(_status(302), at="hub", once="error"),
    "429 with seconds": Row(_status(429, Retry_After=1), at="hub"),
    "429 with a date": Row(_date, at="hub"),
    "429 with an absurd Retry-After": Row(_status(429, Retry_After=1_000_000_000), at="hub"),
    "429 at the storage": Row(_status(429)),
    "500": Row(_status(500), at="hub"),
    "503 with Retry-After": Row(_status(503, Retry_After=3600)),
    "expired signature midway": Row(_status(403), cut_first=True),
    "gone from the storage midway": Row(_status(404), cut_first=True),
    "416": Row(_status(416), cut_first=True),
    "416 with another size": Row(_status(416, Content_Range="bytes */5"), cut_first=True, once="error"),
    "a linked size unlike the listing's": Row(
        to(lambda x: x.server.url("cdn") + "/blob", X_Linked_Size=5), at="hub", once="error"
    ),
    "a linked hash that is a path": Row(
        to(lambda x: x.server.url("cdn") + "/blob", X_Linked_Etag='"../../x"'), at="hub", always="right"
    ),
    "no ETag": Row(_no_etag, always="right"),
    "64 KiB of headers": Row(_big_headers, always="right"),
    "a header without an end": Row(_endless_header),
    "103 alone": Row(_status(103)),
    "not HTTP at all": Row(_nonsense),
    "not HTTP at all, at the hub": Row(_nonsense, at="hub"),
}

TOGETHER = 5
"""So many runs of one behaviour go on at once: they mostly wait."""


def attack(row: Row, place: Place, seed: int, *, once: bool) -> tuple[object, Hub, float]:
    """One fetch against one behaviour: its result or its error, the server, the seconds.

    Every other seed fetches over several connections.
    """
    random.seed(seed)
    with Hub(content(seed, 150_000 + seed)) as hub:
        if row.cut_first:
            _cut_halfway(hub, place)
        hub.behaviour = Behaviour(row.act, at=row.at, times=1 if once else None)
        stop = threading.Event()
        ends = threading.Timer(2 * SECONDS, stop.set)
        ends.start()
        began = time.monotonic()
        try:
            source = hub.source()
            if row.longer is not None:
                hub.redirect = False
                source = hub.source(size_bytes=len(hub.data) + row.longer, sha256=None)
            result: object = place.fetch(source, limits=MANY if seed % 2 else FAST, stop=stop)
        except (RbeeError, Stopped) as error:
            result = error
        finally:
            ends.cancel()
        return result, hub, time.monotonic() - began


def _cut_halfway(hub: Hub, place: Place) -> None:
    """Fetch the first half, from a server that sends no more."""
    hub.behaviour = Behaviour(stall_in_body)
    with running(hub, place) as (stop, progress, results):
        wait_until(lambda: progress.received >= len(hub.data) // 3 or bool(results))
        stop.set()
        wait_until(lambda: bool(results))
    hub.forget()
    assert not place.target.exists()


def verdict(place: Place, hub: Hub, result: object) -> str:
    """`right`, `error`, or what must never be."""
    if not place.files() <= ALLOWED:
        return "a file outside its place"
    if any(TOKEN in x.headers.get("authorization", "") for x in hub.requests if x.at != "hub"):
        return "the token at a storage"
    if isinstance(result, Fetched):
        return "right" if place.target.read_bytes() == hub.data else "a wrong file"
    if isinstance(result, Stopped):
        return "no end"
    assert isinstance(result, RbeeError)
    if place.target.exists():
        return "a file in spite of an error"
    text = str(result)
    leaky = TOKEN in text or "Signature" in text or "\n" in text or not text
    return "an unfit text" if leaky else "error"


def _allowed(row: Row, ending: str, seed: int) -> set[str]:
    """How it may end."""
    ending = row.parts or ending if seed % 2 else ending
    return {"right", "error"} if ending == "either" else {ending}


def wrong(row: Row, ending: str, seeds: range, tmp_path: Path, *, once: bool) -> list[str]:
    """The seeds that do not end as they may, or not in time, with what came of them."""

    def one(seed: int) -> str:
        place = Place(tmp_path / str(seed)).prepare()
        result, hub, seconds = attack(row, place, seed, once=once)
        found = verdict(place, hub, result)
        right = found in _allowed(row, ending, seed) and seconds < SECONDS
        return "" if right else f"seed {seed}: {found} after {seconds:.1f} s: {result}"

    with ThreadPoolExecutor(TOGETHER) as pool:
        return [text for text in pool.map(one, seeds) if text]
