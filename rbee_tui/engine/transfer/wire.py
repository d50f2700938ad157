# ruff: noqa: TID251 - this is the one module that may import urllib3
"""The only module that moves bulk bytes: requests for a range of a file, redirects by hand, through urllib3.

The token goes to the configured origin only, and no message repeats an address: storages sign theirs.
"""

import re
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
    TimeoutError,  # noqa: A004 - the builtin one is its cousin, and is caught by name below
)

from rbee_tui import __version__
from rbee_tui.engine.errors import HubError, IntegrityError, NetworkError, RefusedError, UsageError
from rbee_tui.engine.text import clean
from rbee_tui.engine.transfer.answers import Answer, Asked, AskPlainly, Follow, Proceed, judge
from rbee_tui.engine.transfer.attempt import Line
from rbee_tui.engine.transfer.origins import Origin, origin, proxy_of, trust
from rbee_tui.engine.transfer.patience import Fault
from rbee_tui.engine.transfer.source import Limits, Source
from rbee_tui.engine.transfer.spans import Gap

_GATHERED, _RECORD = 256 << 10, 16 << 10
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"$')


class Body:
    """The bytes of an answer; the first `skip` of them are there already."""

    def __init__(
        self, response: urllib3.BaseHTTPResponse, here: Origin, skip: int, *, whole: bool, most: int | None
    ) -> None:
        """`most` bytes may come where only their number proves the file; None where a hash does."""
        self.skip = skip
        self.whole = whole
        """Whether the whole file comes, though a part of it was asked for."""
        self._response = response
        self._host = here.host
        self._records = here.scheme == "https"
        """Whether bytes come in TLS records, which are read one at a time."""
        self._left = most
        self._socket = _plain_socket(response) if not self._records else None
        self._waited_for = 1

    def read(self, count: int, gather: int = 1) -> bytes:
        """What has arrived, at least one byte and at most `count`; empty at the end. Raises Fault.

        Each read has its price, however little it brings: `gather` so many bytes first, or what is left.
        """
        gather = max(1, min(count, gather, _GATHERED))
        with _faults(self._host):
            if self._records and gather > _RECORD:
                data = self._response.read(gather, decode_content=False)
            else:
                self._wait_for(gather)
                data = self._response.read1(count, decode_content=False)
            if self._left is not None:
                self._left -= len(data)
                if self._left <= 0 and self._response.read1(1, decode_content=False):
                    raise IntegrityError(
                        f"{self._host} sends more than the file has by its listing",
                        hint="pull it again, so that the listing is read anew",
                    )
        return data

    def _wait_for(self, count: int) -> None:
        """Let the system say that something is there only once so many bytes are.

        Where fewer come until the other side is silent, they are lost with the connection: never ask for more
        than it has announced.
        """
        if self._socket is not None and count != self._waited_for:
            self._waited_for = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def close(self) -> None:
        """Be done with it; the connection is kept if everything that it announced was read."""
        if self._response.length_remaining == 0:
            # The next answer's headers are short.
            self._wait_for(1)
            self._response.release_conn()
        else:
            self._response.close()


class Wire:
    """Requests for one file: remembers the storage's signed address and ETag from one request to the next."""

    def __init__(self, source: Source, token: str | None, limits: Limits) -> None:
        self._source = source
        self._token = token
        self.limits = limits
        self._url = _resolve_url(source)
        try:
            self._hub = origin(self._url)
        except ValueError:
            raise UsageError(
                f"{clean(source.endpoint)[:80]!r} is not the address of a Hub",
                hint="set HF_ENDPOINT to its URL",
            ) from None
        self._known = _Known(None, None)

    def link(self, line: Line, buffer: int | None = None) -> "Link":
        """A connection of its own, kept from one request to the next; `buffer` as in `Throttle.buffer()`."""
        return Link(self, line, buffer)

    def open(self, gap: Gap, link: "Link") -> Body:
        """Ask for a range of the file; raises Fault for what may pass, else the RbeeError that ends it."""
        known = self._known
        try:
            return self._walk(gap, link, known)
        except Fault as fault:
            # A storage that refuses or answers nonsense may be replaced by asking the Hub again.
            if fault.kind in ("expired", "answer") and self._known is known:
                self._known = _Known(None, None)
            raise

    def _walk(self, gap: Gap, link: "Link", known: "_Known") -> Body:
        url, etag = known.storage or self._url, known.etag
        left_hub = known.storage is not None
        for _ in range(self.limits.redirects + 1):
            here = origin(url)
            left_hub = left_hub or here != self._hub
            headers = self._headers(gap, etag, with_token=not left_hub)
            response = link.request(url, here, headers)
            verdict = judge(
                _answer(response, here, at_hub=here == self._hub),
                Asked(self._source, gap, "If-Range" in headers, "Authorization" in headers),
            )
            if isinstance(verdict, Proceed):
                self._remember(url, response, left_hub=left_hub)
                everything = response.status == HTTPStatus.OK
                unproven = everything and not self._source.oid
                return Body(
                    response,
                    here,
                    verdict.skip,
                    whole=everything and "Range" in headers,
                    most=self._source.size_bytes if unproven else None,
                )
            response.close()
            if isinstance(verdict, Follow):
                url = self._target(url, here, verdict.location)
            elif isinstance(verdict, AskPlainly):
                etag = None
            else:
                raise verdict
        raise HubError(
            f"{self._hub.host} redirects {self._source.label} in a circle",
            hint="check HF_ENDPOINT and proxies, or try later",
        )

    def _remember(self, url: str, response: urllib3.BaseHTTPResponse, *, left_hub: bool) -> None:
        etag = response.headers.get("etag", "")
        known = _Known(url if left_hub else None, etag if _STRONG_ETAG.match(etag) else None)
        if known != self._known:
            self._known = known

    def _headers(self, gap: Gap, etag: str | None, *, with_token: bool) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": f"rbee/{__version__}"}
        if gap != (0, self._source.size_bytes):
            headers["Range"] = f"bytes={gap.start}-{gap.end - 1}"
            if etag:
                headers["If-Range"] = etag
        if self._token and with_token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _target(self, url: str, here: Origin, location: str) -> str:
        try:
            target = urljoin(url, location)
            there = origin(target)
        except ValueError:
            raise HubError(
                f"{here.host} redirects {self._source.label} to an address that cannot be used"
            ) from None
        if here.scheme == "https" and there.scheme == "http":
            raise HubError(
                f"{here.host} redirects {self._source.label} from https to http, which anybody may read",
                hint="check HF_ENDPOINT and proxies",
            )
        if self._source.url and there != here:
            raise RefusedError(
                f"{here.host} sends us to another server ({clean(there.host)[:80]}) for {self._source.label}",
                hint="only the server that was named is trusted: ask who runs it",
            )
        return target


class _Known(NamedTuple):
    """What an answer taught: the storage's signed address, and the ETag of what it has."""

    storage: str | None
    etag: str | None


class Link:
    """The connections of one attempt, one to each origin that it meets; all of them on the attempt's line."""

    def __init__(self, wire: Wire, line: Line, buffer: int | None) -> None:
        self._wire = wire
        self.buffer = buffer
        """The receive buffer of the connections that it opens from now on."""
        self._line = line
        self._managers: dict[Origin, urllib3.PoolManager] = {}

    def open(self, gap: Gap) -> Body:
        """As `Wire.open()`, over this link's connections."""
        return self._wire.open(gap, self)

    def request(self, url: str, here: Origin, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Ask once; a kept connection that the other side has closed meanwhile is replaced. Raises Fault."""
        manager = self._managers.get(here)
        if manager is not None:
            try:
                return self._ask(manager, url, here, headers)
            except Fault as fault:
                manager.clear()
                if fault.kind != "network":
                    raise
        self._managers[here] = fresh = _manager(here, self.buffer)
        return self._ask(fresh, url, here, headers)

    def _ask(
        self, manager: urllib3.PoolManager, url: str, here: Origin, headers: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        limits = self._wire.limits
        _THIS_THREAD.line = self._line
        with _faults(here.host):
            return manager.request(
                "GET",
                url,
                headers=headers,
                timeout=urllib3.Timeout(connect=limits.connect, read=limits.stall),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )

    def close(self) -> None:
        """Close what is kept."""
        for manager in self._managers.values():
            manager.clear()


def _plain_socket(response: urllib3.BaseHTTPResponse) -> socket.socket | None:
    """The socket that an answer of announced length comes from; None where it is not known."""
    connection = response.connection
    known = response.length_remaining is not None and connection is not None
    return getattr(connection, "sock", None) if known else None


def _resolve_url(source: Source) -> str:
    if source.url:
        return source.url
    repo, revision, path = quote(source.repo), quote(source.revision, safe=""), quote(source.path)
    return f"{source.endpoint.rstrip('/')}/{repo}/resolve/{revision}/{path}"


def _answer(response: urllib3.BaseHTTPResponse, here: Origin, *, at_hub: bool) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, here.host, at_hub, time.time())


def _manager(here: Origin, buffer: int | None = None) -> urllib3.PoolManager:
    """A fresh pool, through the proxy that the environment names for its origin."""
    context = trust() if here.scheme == "https" else None
    # Set before the connection is made: TCP agrees on its window then.
    options: list[tuple[int, int, int | bytes]] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if buffer is not None:
        options.append((socket.SOL_SOCKET, socket.SO_RCVBUF, buffer))
    proxy = proxy_of(here)
    if proxy is None:
        manager = urllib3.PoolManager(ssl_context=context, socket_options=options)
    else:
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        manager = urllib3.ProxyManager(
            proxy,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login) if login else None,
            proxy_ssl_context=trust() if parts.scheme == "https" else None,
            ssl_context=context,
            socket_options=options,
        )
    pools: dict[str, type[HTTPConnectionPool | HTTPSConnectionPool]] = {
        "http": _HttpPool,
        "https": _HttpsPool,
    }
    manager.pool_classes_by_scheme = pools
    return manager


_THIS_THREAD = threading.local()


def _attach(connection: socket.socket) -> socket.socket:
    line: Line = _THIS_THREAD.line
    return line.attach(connection)


class _Http(HTTPConnection):
    """A connection that its line may cut, also while the headers are on the way."""

    def _new_conn(self) -> socket.socket:
        return _attach(super()._new_conn())


class _Https(HTTPSConnection):
    """The same under TLS: the line may cut it during the handshake too."""

    def _new_conn(self) -> socket.socket:
        return _attach(super()._new_conn())


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http  # pyright: ignore[reportAssignmentType] - urllib3's own class does not fit either


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https  # pyright: ignore[reportAssignmentType] - urllib3's own class does not fit either


@contextmanager
def _faults(host: str) -> Generator[None]:
    """Turn what urllib3 raises into a fault. Its own texts hold signed addresses, so none is passed on."""
    try:
        yield
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raise _fault(error, host) from None


def _fault(error: BaseException, host: str) -> Fault | NetworkError:  # noqa: PLR0911 - one line per cause
    if isinstance(error, ProxyError):
        return Fault("network", "no connection through the proxy", hint="check HTTPS_PROXY and NO_PROXY")
    if isinstance(error, NameResolutionError):
        return Fault("network", f"no address for {host} was found", hint="check the network and the name")
    if isinstance(error, NewConnectionError):
        return Fault("network", f"no connection to {host}{_cause(error)}")
    if isinstance(error, ConnectTimeoutError):
        return Fault("network", f"{host} does not answer")
    if isinstance(error, SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return NetworkError(
                f"the certificate of {host} is not trusted",
                hint="if a proxy here signs its own, name its certificate in SSL_CERT_FILE",
            )
        return Fault("network", f"the encrypted connection to {host} failed")
    if isinstance(error, TimeoutError | OSError) and "timed out" in str(error):
        return Fault("stall", f"{host} went silent")
    return Fault("network", f"the connection to {host} broke off")


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    return f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
