"""The network: TLS and whom it trusts, proxies, redirects between schemes, where the token goes."""

import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.errors import HubError, NetworkError, UsageError
from rbee_tui.engine.transfer import Source
from rbee_tui.engine.transfer.attempt import Line
from rbee_tui.engine.transfer.origins import Origin, origin
from rbee_tui.engine.transfer.spans import Gap
from rbee_tui.engine.transfer.wire import Body, Wire
from tests.engine.transfer.server import FAST, MANY, TOKEN, Behaviour, Exchange, Hub, Place, content

DATA = content(1)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for 127.0.0.1."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", key, "-out", path, "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


class TlsFront:
    """TLS in front of a plain server: the Hub of these tests speaks https through it."""

    def __init__(self, certificate: Path, hub: Hub) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._hub = hub

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._threads:
            self._threads.pop().join(10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=(sock,))
            thread.start()
            self._threads.append(thread)

    def _handle(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        with sock:
            try:
                with self._context.wrap_socket(sock, server_side=True) as secure:
                    self._hub._handle("hub", secure)
            except OSError:
                return


class TlsThroughProxy(TlsFront):
    """The same behind a proxy that makes tunnels: each begins with a CONNECT."""

    asked: list[str]

    def __enter__(self) -> str:
        self.asked = []
        return super().__enter__()

    def _handle(self, sock: socket.socket) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += sock.recv(1)
        self.asked.append(raw.decode("latin-1").split("\r\n")[0])
        sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        super()._handle(sock)


class TestTls:
    """Certificates, and never from https to http."""

    def test_trusted_by_the_environment(
        self, place: Place, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SSL_CERT_FILE names whom to trust."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Hub(DATA, redirect=False) as hub, TlsFront(certificate, hub) as url:
            place.fetch(hub.source(endpoint=url))
            assert hub.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert place.target.read_bytes() == DATA

    def test_through_a_tunnel(self, place: Place, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An https address behind a proxy: the proxy learns the host and no more."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Hub(DATA, redirect=False) as hub, (front := TlsThroughProxy(certificate, hub)) as proxy:
            monkeypatch.setenv("https_proxy", proxy.replace("https", "http"))
            place.fetch(hub.source(endpoint="https://127.0.0.1:4443"), limits=MANY)
        assert {line.rpartition(" ")[0] for line in front.asked} == {"CONNECT 127.0.0.1:4443"}
        assert hub.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert place.target.read_bytes() == DATA

    def test_not_trusted(self, place: Place, certificate: Path) -> None:
        """A certificate that nobody vouches for ends it at once, with what to do about it."""
        with Hub(DATA, redirect=False) as hub, TlsFront(certificate, hub) as url:
            with pytest.raises(
                NetworkError, match=r"the certificate of 127\.0\.0\.1 is not trusted"
            ) as found:
                place.fetch(hub.source(endpoint=url))
            assert not hub.requests
        assert "SSL_CERT_FILE" in found.value.hint

    def test_no_such_bundle(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bundle that is not there is named."""
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
        with (
            Hub(DATA) as hub,
            pytest.raises(UsageError, match=r"cannot read the certificates in /nonexistent"),
        ):
            place.fetch(hub.source(endpoint="https://127.0.0.1:9"))

    def test_never_from_https_to_http(
        self, place: Place, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A redirect that takes the encryption away is refused before anything is asked for."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Hub(DATA) as hub, TlsFront(certificate, hub) as url:
            with pytest.raises(HubError, match="from https to http"):
                place.fetch(hub.source(endpoint=url))
            assert [x.at for x in hub.requests] == ["hub"]


class TestToken:
    """The configured origin only."""

    def test_not_when_it_comes_back(self, place: Place) -> None:
        """Once a redirect led elsewhere, the token stays away, even if a second one leads back."""
        with Hub(DATA) as hub:

            def away(x: Exchange) -> None:
                x.head(302, Location=f"{hub.url('foreign')}/x", Content_Length=0)

            def back(x: Exchange) -> None:
                x.head(302, Location=f"{hub.url()}/anything", Content_Length=0)

            hub.behaviour = Behaviour(away, at="hub", times=1)
            original = Hub._act

            def act(self: Hub, at: str) -> object:
                return back if at == "foreign" else original(self, at)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Hub, "_act", act)
                place.fetch(hub.source())
            tokens = [(x.at, "authorization" in x.headers) for x in hub.requests]
        assert tokens == [("hub", True), ("foreign", False), ("hub", False), ("cdn", False)]

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("https://Hub.Example/x?y", Origin("https", "hub.example", 443)),
            ("http://[::1]:8080", Origin("http", "::1", 8080)),
        ],
    )
    def test_origins(self, url: str, found: Origin) -> None:
        """Scheme, host without case, port with its default."""
        assert origin(url) == found


@contextmanager
def kept_connection(piece: int) -> Iterator[str]:
    """The URL of a server that answers ranges of DATA over one connection, so many bytes at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as sock, sock.makefile("rb") as asked:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while head := b"".join(iter(lambda: asked.readline().rstrip(b"\r\n"), b"")):
                    asked_for = re.search(rb"bytes=(\d+)-(\d+)", head)
                    assert asked_for
                    span = range(int(asked_for[1]), int(asked_for[2]) + 1)
                    lines = [
                        "HTTP/1.1 206 Partial Content",
                        f"Content-Length: {len(span)}",
                        f"Content-Range: bytes {span[0]}-{span[-1]}/{len(DATA)}",
                    ]
                    sock.sendall("\r\n".join([*lines, "", ""]).encode())
                    for at in span[::piece]:
                        sock.sendall(DATA[at : min(at + piece, span[-1] + 1)])
                        time.sleep(0.002)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/model.gguf"
        thread.join(10)
        assert not thread.is_alive()


def lengths(body: Body, size: int, gather: int) -> list[int]:
    """How much each read of an answer brings."""
    found: list[int] = []
    while sum(found) < size:
        found.append(len(body.read(size - sum(found), gather)))
    body.close()
    return found


class TestGathering:
    """Each read has its price: where bytes come fast, several packets are read at once."""

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each packet may be read at once")
    def test_reads_are_few(self) -> None:
        """Bytes that come in small packets are read together, the last ones as soon as they are there."""
        with kept_connection(piece=1000) as url:
            source = Source(url.rpartition("/")[0], "-", "-", "model.gguf", len(DATA), "a" * 64, url=url)
            line = Line()
            link = Wire(source, None, FAST).link(line)
            alone = lengths(link.open(Gap(0, 100_000)), 100_000, 1)
            together = lengths(link.open(Gap(100_000, 200_500)), 100_500, 20_000)
            link.close()
            line.close()
        assert len(alone) > 20
        # The first bytes came with the headers.
        assert min(together[1:-1]) >= 20_000
        assert len(together) <= 7

    def test_the_next_answer_is_short(self) -> None:
        """What was gathered of one answer is not waited for in the next, over the same connection."""
        with kept_connection(piece=64 << 10) as url:
            source = Source(url.rpartition("/")[0], "-", "-", "model.gguf", len(DATA), "a" * 64, url=url)
            line = Line()
            link = Wire(source, None, FAST).link(line)
            assert sum(lengths(link.open(Gap(0, 64 << 10)), 64 << 10, 64 << 10)) == 64 << 10
            assert lengths(link.open(Gap(100_000, 100_100)), 100, 1) == [100]
            link.close()
            line.close()


class TestSixes:
    """Hubs and storages that have an IPv6 address."""

    @pytest.fixture
    def sixes(self) -> Iterator[Hub]:
        """A Hub and its storage on the other loopback."""
        try:
            with Hub(DATA, host="::1") as hub:
                yield hub
        except OSError:
            pytest.skip("there is no IPv6 here")

    def test_several_connections(self, sixes: Hub, place: Place) -> None:
        """Redirected from one to the other, and the token at the first alone."""
        place.fetch(sixes.source(), limits=MANY)
        assert place.target.read_bytes() == DATA
        assert {x.headers["host"].rpartition(":")[0] for x in sixes.requests} == {"[::1]"}
        assert not any("authorization" in x.headers for x in sixes.requests if x.at == "cdn")

    def test_passed_by(self, sixes: Hub, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """NO_PROXY names it without its brackets."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "::1")
        place.fetch(sixes.source())
        assert place.target.read_bytes() == DATA


class TestProxies:
    """The environment's proxies."""

    @pytest.fixture
    def proxied(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
        """A server that is named as the proxy, with a login, and answers for every host."""
        with Hub(DATA, redirect=False) as hub:
            port = hub.url().rsplit(":", 1)[1]
            monkeypatch.setenv("http_proxy", f"http://me:se%20cret@127.0.0.1:{port}")
            yield hub

    def test_used(self, proxied: Hub, place: Place) -> None:
        """The request goes to the proxy, which is given the login and the whole address."""
        place.fetch(proxied.source(endpoint="http://hub.example"))
        request = proxied.requests[0]
        assert request.path.startswith("http://hub.example/owner/tiny/resolve/")
        assert request.headers["proxy-authorization"] == "Basic bWU6c2UgY3JldA=="
        assert place.target.read_bytes() == DATA

    def test_passed_by(self, proxied: Hub, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """NO_PROXY keeps a host from it."""
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        place.fetch(proxied.source())
        assert proxied.requests[0].path.startswith("/owner/tiny/resolve/")

    def test_dead(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy where nobody listens is named as the cause."""
        with Hub(DATA) as hub:
            monkeypatch.setenv("http_proxy", hub.url())
        brief = msgspec.structs.replace(FAST, retries=1)
        with pytest.raises(NetworkError, match="no connection through the proxy"):
            place.fetch(Source("http://hub.example", "a/b", "c", "d", 5), limits=brief)

    def test_of_a_kind_that_cannot_be_used(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A SOCKS proxy is refused with a sentence, not passed by."""
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        with pytest.raises(UsageError, match="names a socks5 proxy"):
            place.fetch(Source("http://hub.example", "a/b", "c", "d", 5))
