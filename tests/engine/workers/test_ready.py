"""Whether a worker answers: everything that it is asked, and everything that others may answer instead."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rbee_tui.engine.process import identify, this_machine
from rbee_tui.engine.workers import ready
from rbee_tui.engine.workers.record import Running

LISTENER = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        ok = self.path == "/health" and self.headers["Authorization"] == "Bearer right"
        self.send_response(200 if ok else 401); self.end_headers()
servers = [http.server.HTTPServer(("127.0.0.1", 0), Handler) for _ in range(int(sys.argv[1]))]
print(*[server.server_address[1] for server in servers], flush=True)
servers[0].serve_forever() if servers else sys.stdin.read()
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


@contextmanager
def kept(servers: int) -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    """A parent with a child that listens on so many ports."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, LISTENER, str(servers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout
        try:
            yield parent, [int(word) for word in parent.stdout.readline().split()]
        finally:
            os.killpg(parent.pid, 9)


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Running]:
    """Makes the record of a worker process; its log is in `tmp_path`."""

    def make(pid: int | None = None, port: int = 0, log: str = "", log_from: int = 0) -> Running:
        """On loopback."""
        path = tmp_path / "tiny.log"
        path.write_text(log)
        return Running(
            model="tiny",
            worker="w",
            variant="cpu",
            runtime="llama-server",
            machine=this_machine(),
            who=identify(pid) if pid else None,
            cookie="cookie",
            model_path="",
            key_file="",
            port=port,
            context=512,
            chat=False,
            reason="",
            estimate=0,
            log=str(path),
            log_from=log_from,
            started_at="",
        )

    return make


class TestStatus:
    """One plain exchange."""

    @pytest.fixture
    def says(self) -> Iterator[Callable[[bytes], int]]:
        """Serves one connection with these bytes; the port."""
        listeners: list[socket.socket] = []

        def serve(answer: bytes) -> int:
            listener = socket.create_server(("127.0.0.1", 0))
            listeners.append(listener)

            def run() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

            threads.append(threading.Thread(target=run, daemon=True))
            threads[-1].start()
            return listener.getsockname()[1]

        threads: list[threading.Thread] = []
        yield serve
        for thread in threads:
            thread.join(10)
        for listener in listeners:
            listener.close()

    def test_an_answer(self, says, record):
        """Its status alone."""
        assert (
            ready.status(record(port=says(b"HTTP/1.1 503 Loading\r\nContent-Length: 0\r\n\r\n")), "/health")
            == 503
        )

    @pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 two\r\n\r\n"])
    def test_what_speaks_otherwise_says_nothing(self, says, record, answer):
        """Another program may have the port."""
        assert ready.status(record(port=says(answer)), "/health") is None

    def test_nobody(self, record):
        """A port that is free, and one that takes connections and is silent."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            assert ready.status(record(port=port), "/health", seconds=0.1) is None
        assert ready.status(record(port=port), "/health") is None


class TestPort:
    """The process's own, whatever a log says: the key goes there."""

    def test_it_answers_with_its_key(self, record):
        """At its own port, with its own key."""
        with kept(1) as (parent, (port,)):
            assert ready.answers(record(parent.pid, port), "right")
            assert not ready.answers(record(parent.pid, port), "wrong")
            assert not ready.answers(record(parent.pid, 0), "right")

    def test_another_s_port_never_gets_the_key(self, record):
        """Though somebody answers there."""
        with kept(1) as (parent, _), kept(1) as (_, (foreign,)):
            assert not ready.answers(record(parent.pid, foreign), "right")
            assert not ready.answers(record(None, foreign), "right")

    def test_an_asker_that_does_not_look_whose_it_is_would_send_it(self, record, monkeypatch):
        """The check above sees that."""
        monkeypatch.setattr(ready, "_owns", lambda record: True)
        with kept(1) as (parent, _), kept(1) as (_, (foreign,)):
            assert ready.answers(record(parent.pid, foreign), "right")

    def test_it_is_found_by_log_and_sockets_together(self, record):
        """The log names one of two; a log that names another's is not believed."""
        with kept(2) as (parent, (one, other)):
            said = "listening on http://127.0.0.1:{}\n"
            assert ready.find_port(record(parent.pid, log=said.format(other))) == other
            assert ready.find_port(record(parent.pid, log=said.format(1))) == 0
            assert ready.find_port(record(parent.pid)) == 0
            earlier = said.format(one)
            assert ready.find_port(record(parent.pid, log=earlier + "new", log_from=len(earlier))) == 0

    def test_the_only_one_needs_no_log(self, record):
        """One that listens on none has none."""
        with kept(1) as (parent, (port,)):
            assert ready.find_port(record(parent.pid)) == port
        with kept(0) as (parent, _):
            assert ready.find_port(record(parent.pid)) == 0
        assert ready.find_port(record(None, log="listening on http://127.0.0.1:4711")) == 0

    @pytest.fixture
    def hidden(self, monkeypatch):
        """A system that does not tell a process's sockets, as macOS without rights."""

        def refuse(self: psutil.Process, kind: str = "inet") -> list[object]:
            raise psutil.AccessDenied(self.pid)

        monkeypatch.setattr(psutil.Process, "net_connections", refuse)

    def test_where_sockets_are_hidden_the_log_has_to_do(self, record, hidden):
        """There is nothing else to ask."""
        with kept(1) as (parent, (port,)):
            log = f"listening on http://127.0.0.1:{port}\n"
            assert ready.find_port(record(parent.pid, log=log)) == port
            assert ready.find_port(record(parent.pid)) == 0
            assert ready.answers(record(parent.pid, port), "right")

    def test_a_child_that_ends_meanwhile_has_none(self, record, monkeypatch):
        """The others are still asked."""
        asked: list[int] = []
        ask = psutil.Process.net_connections

        def first_is_gone(self: psutil.Process, kind: str = "inet") -> list[object]:
            asked.append(self.pid)
            if len(asked) == 1:
                raise psutil.NoSuchProcess(self.pid)
            return ask(self, kind)

        monkeypatch.setattr(psutil.Process, "net_connections", first_is_gone)
        with kept(1) as (parent, (port,)):
            assert ready.find_port(record(parent.pid)) == 0
            assert ready.find_port(record(parent.pid)) == port

    def test_a_process_that_is_gone_has_none(self, record):
        """Its record is still there."""
        with kept(1) as (parent, (port,)):
            made = record(parent.pid, port)
        assert not ready.answers(made, "right")
        assert ready.find_port(made) == 0


class TestMemory:
    """What a worker really takes."""

    def test_its_own_and_its_children_s(self):
        """More than the keeper alone."""
        with kept(1) as (parent, _):
            alone = psutil.Process(parent.pid).memory_full_info().uss
            assert (ready.memory(parent.pid) or 0) > alone > 0
        assert ready.memory(parent.pid) is None


class TestTail:
    """The end of a log, for an error."""

    def test_of_this_start_alone_and_safe_to_show(self, record):
        """The last fifteen lines."""
        log = "earlier\n" + "".join(f"line {n}\x1b[31m\n" for n in range(30))
        found = ready.tail(record(log=log, log_from=len("earlier\n"))).splitlines()
        assert len(found) == 15
        assert found[-1] == "line 29\\x1b[31m"
        assert ready.tail(record(log="earlier\nnow\n", log_from=8)) == "now"

    def test_a_long_log_is_not_read(self, record):
        """Only its end is."""
        assert len(ready.tail(record(log="x" * 100_000))) == 8000

    def test_a_log_that_is_gone_is_empty(self, record):
        """As is its port."""
        made = record(log="listening on http://127.0.0.1:1")
        Path(made.log).unlink()
        assert ready.tail(made) == ""
        assert ready.find_port(made) == 0
