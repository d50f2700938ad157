"""A small Hub on loopback that speaks the real one's protocol, its storage on an origin of its own.

Large files answer with a redirect to a signed address that expires, small ones with a relative redirect; both
tell commit, size and hash in the headers that clients rely on. huggingface_hub works against it unmodified.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rbee_tui.demo import listing
from rbee_tui.demo.listing import LARGE, DemoRepo, error, git_blob_id
from rbee_tui.demo.serving import Serving

__all__ = ["LARGE", "DemoHub", "DemoRepo", "Fault", "Seen", "git_blob_id"]

_SIGNED_SECONDS = 3600
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer of the storage."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """End the body after so many bytes."""
    flip: int | None = None
    """Change the byte at this offset of the file."""
    whole: bool = False
    """Ignore the Range."""


@dataclass(frozen=True)
class Seen:
    """One request that was answered."""

    method: str
    path: str
    host: str
    range: str
    authorization: str


class DemoHub:
    """The Hub and its storage; `with` it to serve. `rate` bounds all bodies together, in bytes per second."""

    def __init__(
        self,
        repos: Iterable[DemoRepo],
        rate: float | None = None,
        token: str | None = None,
        fault: Callable[[Seen], Fault | None] | None = None,
    ) -> None:
        self.repos = {repo.id: repo for repo in repos}
        self.rate = rate
        self.token = token
        self.fault = fault
        self.requests: list[Seen] = []
        self.renamed: dict[str, str] = {}
        """The new name of each repository that was renamed; the old one leads to it."""
        self.leads_to = ""
        """The origin to which they lead; empty for this one."""
        self._sent: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._clock = 0.0
        self._turns: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self._key = secrets.token_bytes(16)
        self._etags: dict[str, str] = {}
        self._hub = Serving(Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "HEAD"])]))
        self._cdn = Serving(Starlette(routes=[Route("/{path:path}", self._store, methods=["GET", "HEAD"])]))

    @property
    def url(self) -> str:
        """The Hub's origin: what HF_ENDPOINT names."""
        return self._hub.url

    @property
    def cdn_url(self) -> str:
        """The storage's origin."""
        return self._cdn.url

    def bytes_sent(self, path: str) -> int:
        """Bytes of bodies sent for `owner/name/file`."""
        return self._sent[path]

    def __enter__(self) -> Self:
        self._cdn.start()
        self._hub.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.stop()
        self._cdn.stop()

    # The Hub

    async def _answer(self, request: Request) -> Response:
        seen = self._note(request)
        path = unquote(request.url.path).strip("/")
        if self.fault and (fault := self.fault(seen)) and fault.status:
            return Response(status_code=fault.status, headers=fault.headers)
        if self.renamed and (place := self._renamed(path)):
            return Response(status_code=307, headers={"Location": f"{place}?{request.url.query}"})
        if path == "api/models":
            return listing.search(self.url, request.query_params, self.repos.values())
        if path.startswith("api/resolve-cache/models/"):
            return self._small_body(request, path.removeprefix("api/resolve-cache/models/"))
        if path.startswith("api/models/"):
            return self._api(request, path.removeprefix("api/models/"))
        return self._resolve(request, path)

    def _renamed(self, path: str) -> str:
        """The same address with a repository's new name; empty where it has none."""
        for old, new in self.renamed.items():
            for before in ("api/models/", ""):
                if f"{path}/".startswith(f"{before}{old}/"):
                    return f"{self.leads_to}/{before}{new}{path.removeprefix(before + old)}"
        return ""

    def _note(self, request: Request) -> Seen:
        seen = Seen(
            request.method,
            request.url.path,
            request.headers.get("host", ""),
            request.headers.get("range", ""),
            request.headers.get("authorization", ""),
        )
        self.requests.append(seen)
        return seen

    def _api(self, request: Request, path: str) -> Response:
        owner, name, *rest = [*path.split("/"), ""][:2] + path.split("/")[2:]
        repo = self.repos.get(f"{owner}/{name}")
        if repo is None or (repo.private and not self._allowed(request)):
            return self._no_repo(request)
        return listing.about(self.url, request, repo, rest)

    def _resolve(self, request: Request, path: str) -> Response:
        before, marker, after = path.partition("/resolve/")
        repo = self.repos.get(before)
        if not marker or repo is None or (repo.private and not self._allowed(request)):
            return self._no_repo(request)
        revision, _, name = after.partition("/")
        there = repo.at(unquote(revision))
        if there is None:
            return error(404, "RevisionNotFound", "Invalid rev id")
        commit, files = there
        if repo.gated and name != "README.md" and not self._allowed(request):
            status = 403 if request.headers.get("authorization") else 401
            text = f"Access to model {repo.id} is restricted."
            return error(status, "GatedRepo", text)
        data = files.get(name)
        if data is None:
            return error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "X-Linked-Size": str(len(data))}
        if len(data) < LARGE:
            tag = f'"{git_blob_id(data)}"'
            place = f"/api/resolve-cache/models/{repo.id}/{commit}/{quote(name)}"
            return Response(
                status_code=307, headers={**headers, "ETag": tag, "X-Linked-ETag": tag, "Location": place}
            )
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        place = self._sign(f"/{repo.id}/{commit}/{quote(name)}")
        return Response(
            b"Found. Redirecting",
            status_code=302,
            headers={**headers, "ETag": tag, "X-Linked-ETag": tag, "Location": f"{self.cdn_url}{place}"},
        )

    def _data(self, repo: str, commit: str, file: str) -> bytes:
        """A file's bytes at a commit that its address was made for."""
        found = self.repos[repo].at(commit)
        return found[1][file] if found else b""

    def _allowed(self, request: Request) -> bool:
        return self.token is not None and request.headers.get("authorization") == f"Bearer {self.token}"

    def _no_repo(self, request: Request) -> Response:
        """Anonymous users are not told whether a repository is missing or private."""
        if self._allowed(request):
            return error(404, "RepoNotFound", "Repository not found")
        # The real Hub sends no code here; the library knows it by its https address, which loopback has not.
        return error(401, "RepoNotFound", "Invalid username or password.")

    def _small_body(self, request: Request, path: str) -> Response:
        owner, name, commit, file = path.split("/", 3)
        data = self._data(f"{owner}/{name}", commit, file)
        headers = {"ETag": f'"{git_blob_id(data)}"', "X-Repo-Commit": commit}
        return self._body(request, f"{owner}/{name}/{file}", data, headers, None)

    # The storage

    def _sign(self, path: str) -> str:
        until = str(int(time.time()) + _SIGNED_SECONDS)
        return f"{path}?Expires={until}&Signature={self._signature(path, until)}"

    def _signature(self, path: str, until: str) -> str:
        return hmac.new(self._key, f"{unquote(path)}{until}".encode(), "sha256").hexdigest()

    async def _store(self, request: Request) -> Response:
        seen = self._note(request)
        fault = self.fault(seen) if self.fault else None
        if fault and fault.status:
            return Response(status_code=fault.status, headers=fault.headers)
        query = {key: values[0] for key, values in parse_qs(request.url.query).items()}
        until = query.get("Expires", "0")
        wanted = self._signature(request.url.path, until)
        if not hmac.compare_digest(wanted, query.get("Signature", "")) or int(until) < time.time():
            return Response(b"<Error><Code>AccessDenied</Code></Error>", status_code=403)
        owner, name, commit, file = unquote(request.url.path).strip("/").split("/", 3)
        data = self._data(f"{owner}/{name}", commit, file)
        tag = self._etags.setdefault(f"{owner}/{name}/{file}", f'"{secrets.token_hex(16)}"')
        return self._body(request, f"{owner}/{name}/{file}", data, {"ETag": tag}, fault)

    def _body(
        self, request: Request, key: str, data: bytes, headers: dict[str, str], fault: Fault | None
    ) -> Response:
        """The file or the range of it that was asked for."""
        headers = {**headers, "Accept-Ranges": "bytes", **(fault.headers if fault else {})}
        start, end, status = 0, len(data), 200
        asked = _RANGE.match(request.headers.get("range", ""))
        current = request.headers.get("if-range") in (None, headers["ETag"])
        if asked and current and not (fault and fault.whole):
            bounds = _bounds(asked, len(data))
            if bounds is None:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
            (start, end), status = bounds, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        body = self._send(key, data, start, end, fault)
        return StreamingResponse(
            body, status_code=status, headers=headers, media_type="application/octet-stream"
        )

    async def _send(
        self, key: str, data: bytes, start: int, end: int, fault: Fault | None
    ) -> AsyncGenerator[bytes]:
        view = memoryview(data)
        while start < end:
            rate = self.rate
            count = min(end - start, _CHUNK if rate is None else max(1024, min(_CHUNK, int(rate / 20))))
            if fault and fault.cut is not None and start + count > fault.cut:
                return
            await self._wait_turn(count)
            chunk = bytes(view[start : start + count])
            if fault and fault.flip is not None and start <= fault.flip < start + count:
                at = fault.flip - start
                chunk = chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
            with self._lock:
                self._sent[key] += count
            yield chunk
            start += count

    async def _wait_turn(self, count: int) -> None:
        """Wait until the rate allows `count` bytes more; one clock for all answers.

        One after another: an answer that is broken off in the queue has taken nothing from the others.
        """
        rate = self.rate
        if rate is None:
            return
        async with self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            with self._lock:
                now = time.monotonic()
                self._clock = max(self._clock, now) + count / rate
                pause = self._clock - now
            await asyncio.sleep(pause)


def _bounds(asked: "re.Match[str]", size: int) -> tuple[int, int] | None:
    """Start and end of a byte range; None when the file has no such bytes."""
    first, last = asked.groups()
    if not first:
        return (max(0, size - int(last)), size) if last and int(last) and size else None
    start, end = int(first), min(size, int(last) + 1) if last else size
    return (start, end) if start < end else None
