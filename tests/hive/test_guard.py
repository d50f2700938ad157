"""The guard: who comes under a wrong name, from another page, or without the token gets nothing."""

import random
import socket
from collections.abc import Iterator

import pytest

from rbee_tui.engine.addresses import address
from rbee_tui.hive import hosts, token
from rbee_tui.hive.endpoints import ENDPOINTS
from rbee_tui.hive.guard import OPEN_PATHS
from rbee_tui.hive.limits import Limits
from tests.e2e.support import Rbee
from tests.hive.support import HiveProcess, ask, hive

ROUTES = [(each.method, each.path.replace("{id}", "0123abcd")) for each in ENDPOINTS]

# What a page, a rebound name or a careless proxy sends. P is the hive's port.
HOSTS = """
evil.example|evil.example:P|127.0.0.1|127.0.0.1:1|127.0.0.1:P.evil.example|127.0.0.1.evil.example:P
localhost|localhost:1|localhost.:P|localhost.evil.example:P|LOCALHOST.EVIL.EXAMPLE:P|foo.localhost:P
[::1]:P|[::]:P|0.0.0.0:P|127.0.0.2:P|127.1:P|2130706433:P|0x7f000001:P|0177.0.0.1:P|127.0.0.1:0P|127.0.0.1:P:P
user@127.0.0.1:P|127.0.0.1:P/|127.0.0.1:P#|127.0.0.1:P?x|localhost:P,evil.example|localhost:P evil.example
rbee.localhost:P|127.0.0.1%00:P|xn--lcalhost-54a:P|LOCALHOST:P
""".replace("\n", "|").split("|")[1:-1]

ORIGINS = """
null|http://evil.example|http://evil.example:P|https://127.0.0.1:P|http://127.0.0.1|http://127.0.0.1:1|http://localhost
file://|http://127.0.0.1:P.evil.example|http://localhost:P@evil.example|http://[::1]:P|HTTP://127.0.0.1:P
http://127.0.0.1:P/|127.0.0.1:P|http:127.0.0.1:P|http://127.0.0.1:P http://evil.example|*|http://
chrome-extension://abc|ws://127.0.0.1:P
""".replace("\n", "|").split("|")[1:-1]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HiveProcess]:
    """A hive on an empty root."""
    with hive(Rbee(tmp_path_factory.mktemp("guard") / "rbee")) as process:
        yield process


def request(
    hive: HiveProcess,
    method: str,
    path: str,
    host: str = "127.0.0.1:P",
    origin: str = "",
    authorization: str | None = None,
    *more: str,
) -> int | None:
    """The status of one request, right in everything that is not given."""
    given = f"Bearer {hive.token}" if authorization is None else authorization
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}".replace("P", str(hive.port), host.count("P"))]
    lines += [f"Origin: {origin}".replace(":P", f":{hive.port}")] if origin else []
    lines += [f"Authorization: {given}"] if given else []
    lines += ["Content-Type: application/json", "Content-Length: 2"] if method == "POST" else []
    return ask(hive.port, "\r\n".join([*lines, *more, "", ""]).encode(), b"{}" if method == "POST" else b"")


def request_is_answered(hive: HiveProcess) -> bool:
    """Whether a right one still is."""
    return request(hive, "GET", "/v1/capabilities") == 200


class TestNames:
    """Host and Origin are compared whole, before anything else is looked at."""

    def test_there_are_fifty(self):
        """Distinct ones."""
        assert len(set(HOSTS)) + len(set(ORIGINS)) >= 50

    @pytest.mark.parametrize(("method", "path"), ROUTES)
    def test_no_wrong_host_is_answered(self, running: HiveProcess, method: str, path: str):
        """On any route, with the right token."""
        answered = {host: request(running, method, path, host) for host in HOSTS}
        assert set(answered.values()) <= {403, 400}, answered

    @pytest.mark.parametrize(("method", "path"), ROUTES)
    def test_no_foreign_page_is_answered(self, running: HiveProcess, method: str, path: str):
        """On any route, with the right token and the right Host."""
        answered = {origin: request(running, method, path, origin=origin) for origin in ORIGINS}
        assert set(answered.values()) == {403}, answered

    @pytest.mark.parametrize("host", ["127.0.0.1:P", "localhost:P"])
    @pytest.mark.parametrize("origin", ["", "http://127.0.0.1:P", "http://localhost:P"])
    def test_the_right_ones_are(self, running: HiveProcess, host: str, origin: str):
        """The checks above do not refuse everything."""
        assert request(running, "GET", "/v1/capabilities", host, origin) == 200

    @pytest.mark.parametrize("more", ["Host: 127.0.0.1:P", "Host: evil.example"])
    def test_two_hosts_are_none(self, running: HiveProcess, more: str):
        """The parser or the guard refuses."""
        more = more.replace("P", str(running.port))
        assert request(running, "GET", "/health", "127.0.0.1:P", "", None, more) in (400, 403)

    def test_two_origins_are_none(self, running: HiveProcess):
        """Though each is right."""
        right = f"http://127.0.0.1:{running.port}"
        assert request(running, "GET", "/health", "127.0.0.1:P", right, None, f"Origin: {right}") == 403

    def test_no_host_is_none(self, running: HiveProcess):
        """HTTP/1.0 may leave it out."""
        assert ask(running.port, b"GET /health HTTP/1.0\r\n\r\n") == 403

    @pytest.mark.parametrize("target", ["http://evil.example/health", "*", "evil.example:80"])
    def test_a_target_that_is_no_path_is_refused(self, running: HiveProcess, target: str):
        """As one sends it to a proxy."""
        assert request(running, "GET", target) == 400


class TestToken:
    """Every route but /health needs it; the routes are those of the hive itself."""

    @pytest.mark.parametrize(("method", "path"), ROUTES)
    @pytest.mark.parametrize(
        "authorization",
        ["", "Bearer", "Bearer ", "Bearer wrong", "Basic TOKEN", "TOKEN", "Bearer TOKENx", "Bearer TOKE"],
    )
    def test_without_it_nothing_is_answered(
        self, running: HiveProcess, method: str, path: str, authorization: str
    ):
        """401, and how to get one."""
        given = authorization.replace("TOKEN", running.token).replace("TOKE", running.token[:-1])
        open_to_all = path in OPEN_PATHS
        assert request(running, method, path, authorization=given) == (200 if open_to_all else 401)

    @pytest.mark.parametrize("path", ["/", "/v1", "/nowhere", "/health/", "//health", "/%2e/health", "/docs"])
    def test_nor_is_it_said_what_there_is(self, running: HiveProcess, path: str):
        """A path that there is not is refused in the same words."""
        assert request(running, "GET", path, authorization="") == 401
        assert request(running, "GET", path) == 404

    def test_only_health_is_open(self):
        """One route, and it tells nothing."""
        assert set(OPEN_PATHS) == {"/health"}

    def test_it_is_a_secret_file(self, running: HiveProcess):
        """Mode 600, in a directory of mode 700."""
        path = running.rbee.home / "state" / "hive-token"
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    def test_a_new_one_holds_at_once(self, tmp_path):
        """The old one is worth nothing from then on, without a restart."""
        with hive(Rbee(tmp_path / "rbee")) as process:
            before = process.token
            after = process.rbee.run("hive", "token", "--new").strip()
            assert request(process, "GET", "/v1/capabilities", authorization=f"Bearer {before}") == 401
            assert request(process, "GET", "/v1/capabilities", authorization=f"Bearer {after}") == 200

    @pytest.mark.parametrize("text", ["", "short", "a b c d e f g h i j k l m n o p q r s t u", "ä" * 40])
    def test_what_cannot_be_one_opens_nothing(self, root, text: str):
        """A file that was emptied or spoilt is no token, and the next hive makes one."""
        (root.state / "hive-token").write_text(text)
        assert not token.matches(root, text.encode())
        assert not token.matches(root, b"")
        assert token.matches(root, token.ensure(root).encode())

    def test_the_log_does_not_tell_it(self, running: HiveProcess):
        """Nor does anything else of the root but its file."""
        request(running, "GET", "/v1/capabilities")
        request(running, "GET", f"/v1/jobs/{running.token}/stream", authorization="")
        running.rbee.run("hive", "status")
        for path in running.rbee.home.rglob("*"):
            if path.is_file() and path.name not in ("hive-token", "hive.log"):
                assert running.token.encode() not in path.read_bytes(), path
        assert f"Bearer {running.token}" not in (running.rbee.home / "state/logs/hive.log").read_text()


class TestRequests:
    """What is asked is bounded in kind, size and time."""

    @pytest.mark.parametrize(
        "kind",
        [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1",
         "application/jsonp", "multipart/form-data; boundary=x"],
    )  # fmt: skip
    def test_a_change_is_json(self, running: HiveProcess, kind: str | None):
        """The kinds that a page may send without asking first are refused."""
        lines = ["POST /v1/jobs HTTP/1.1", f"Host: 127.0.0.1:{running.port}"]
        lines += [f"Authorization: Bearer {running.token}", "Content-Length: 26"]
        lines += [f"Content-Type: {kind}"] if kind else []
        head = "\r\n".join([*lines, "", ""]).encode()
        assert ask(running.port, head, b'{"operation":"model_list"}') == 415

    def test_a_page_cannot_ask_first(self, running: HiveProcess):
        """There is no CORS: the browser's question is refused."""
        answer = running.curl("/v1/jobs", "-X", "OPTIONS", "-H", "Origin: http://evil.example")
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert request(running, "OPTIONS", "/v1/jobs") == 405

    def test_a_long_body_is_refused(self, running: HiveProcess):
        """Before it is all here."""
        body = '{"operation": "model_get", "id": "' + "x" * Limits().body_bytes + '"}'
        answer = running.curl("/v1/jobs", body=body)
        assert (answer.status, answer.json["error"]) == (413, "size")

    def test_a_long_head_is_refused(self, running: HiveProcess):
        """By the parser."""
        assert request(running, "GET", "/health", "127.0.0.1:P", "", None, "X: " + "x" * 70_000) in (400, 431)

    @pytest.mark.parametrize(
        "bad", [b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01" * 99]
    )
    def test_what_is_no_request_is_refused(self, running: HiveProcess, bad: bytes):
        """And costs the hive nothing."""
        assert ask(running.port, bad + b"\r\n\r\n") in (400, None)
        assert request(running, "GET", "/health") == 200

    def test_chance_finds_no_fault(self, running: HiveProcess, request: pytest.FixtureRequest):
        """Requests with bytes changed, left out and doubled: each is refused or answered, none is a fault."""
        chance = random.Random(20261127)
        body = b'{"operation": "model_get", "id": "x"}'
        whole = (
            f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n"
            f"Authorization: Bearer {running.token}\r\n"
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        for _ in range(request.config.getoption("--rounds") or 300):
            sent = bytearray(whole)
            for _ in range(chance.choice((1, 1, 2, 8))):
                at = chance.randrange(len(sent))
                sent[at : at + chance.choice((0, 1, 1, 9))] = chance.choice(
                    (b"", chance.randbytes(1), b"\r\n", b"\0", sent[at : at + 9], b"\xff", b"9" * 20, b":")
                )
            with socket.create_connection(("127.0.0.1", running.port), timeout=30) as to:
                to.sendall(sent)
                to.shutdown(socket.SHUT_WR)
                got = to.recv(1 << 16)
            assert not got.startswith(b"HTTP/1.1 5"), (bytes(sent), got)
        assert request_is_answered(running)
        assert [line for line in running.log() if line["event"] == "fault"] == []

    def test_a_wrong_method_is_said(self, running: HiveProcess):
        """With the right ones."""
        answer = running.curl("/v1/jobs", "-X", "DELETE")
        assert (answer.status, answer.json["message"]) == (405, "/v1/jobs takes POST")


class TestWhichNames:
    """Which Hosts are right where a hive listens elsewhere."""

    def test_on_loopback_no_other_name_counts(self):
        """Not even the machine's own."""
        found = hosts.allowed(address("127.0.0.1"), 7835, ["gpu", "10.0.0.1"], [])
        assert found == {"127.0.0.1:7835", "localhost:7835"}

    def test_on_every_interface_the_machine_s_count(self):
        """Its name, its addresses, loopback, and what was given."""
        found = hosts.allowed(address("0.0.0.0"), 7835, ["gpu", "fe80::1"], ["gpu.example.org"])
        names = {"0.0.0.0", "127.0.0.1", "localhost", "gpu", "[fe80::1]", "gpu.example.org"}
        assert found == {f"{name}:7835" for name in names}

    def test_on_six(self):
        """Brackets."""
        assert hosts.allowed(address("::1"), 7835, [], []) == {"[::1]:7835", "localhost:7835"}

    def test_port_80_may_be_left_out(self):
        """As clients do."""
        assert "gpu" in hosts.allowed(address("10.0.0.1"), 80, ["gpu"], [])
