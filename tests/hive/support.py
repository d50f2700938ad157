"""A hive as a process of its own, asked by curl and by plain sockets."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pytest

from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from tests.e2e.support import Rbee
from tests.engine.workers.support import House

SECONDS = 30


class Answer(NamedTuple):
    """What curl brought back."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class HiveProcess:
    """`rbee hive` on a free port; `said` are the lines of its start."""

    def __init__(self, rbee: Rbee, *words: str, **environment: str) -> None:
        self.rbee = rbee
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rbee_tui", "hive", "--port", "0", "--queen-url", "", *words],
            env={**rbee.environment, "LANG": "C.UTF-8", **environment},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line == "Hive ready\n":
                break
        else:
            raise AssertionError(f"the hive did not start: {self.said} {self.process.communicate()[1]}")
        self.ready = time.monotonic()
        self.port = int(re.search(r"port (\d+)", self.said[0])[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = (rbee.home / "state" / "hive-token").read_text().strip()

    @property
    def house(self) -> House:
        """The root's catalogs and workers as another process sees them: this one."""
        return House(Root(self.rbee.home))

    def jobs(self) -> dict[str, JobProgress]:
        """The downloads as another process sees them."""
        store = JobStore(Root(self.rbee.home))
        return {record.id: store.progress(record) for record in store.list()}

    def curl(self, path: str, *words: str, token: str | None = None, body: Any = None) -> Answer:
        """Ask by curl, with the token unless another one is given ("" is none)."""
        given = self.token if token is None else token
        asked = ["curl", "--silent", "--show-error", "--include", "--max-time", str(SECONDS), "--no-buffer"]
        asked += ["--header", f"Authorization: Bearer {given}"] if given else []
        if body is not None:
            text = body if isinstance(body, str) else json.dumps(body)
            asked += ["--header", "Content-Type: application/json", "--data-binary", text]
        done = subprocess.run([*asked, *words, self.url + path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return parse(done.stdout)

    def submit(self, operation: str, **fields: Any) -> Answer:
        """Post an operation."""
        return self.curl("/v1/jobs", body={"operation": operation, **fields})

    def events(self, job_id: str, *words: str) -> list[tuple[str, Any]]:
        """A job's whole stream: kind and data of each event; the last is the word that ends it."""
        answer = self.curl(f"/v1/jobs/{job_id}/stream", *words)
        assert answer.status == 200, answer
        return list(events_in(answer.body))

    def done(self, operation: str, **fields: Any) -> Any:
        """What an operation gives that must succeed."""
        answer = self.submit(operation, **fields)
        assert answer.status == 202, answer
        events = self.events(answer.json["job_id"])
        assert events[-1] == ("", "[DONE]"), events
        return dict(events)["result"]

    def following(self, path: str) -> Iterator[tuple[str, Any]]:
        """The events of a stream as they come, a comment as an empty one; leaving the loop closes it."""
        headers = {"Authorization": f"Bearer {self.token}"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as to:
            to.request("GET", path, headers=headers)
            answer, block = to.getresponse(), ""
            assert answer.status == 200
            while line := answer.readline().decode():
                block += line
                if line == "\n":
                    yield from events_in(block.strip()) if "data: " in block else [("", "")]
                    block = ""

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        path = self.rbee.home / "state" / "logs" / "hive.log"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=SECONDS)
        self.said += out.splitlines()
        assert "Traceback" not in out + err, err
        return self.process.returncode


def parse(text: str) -> Answer:
    """What `curl --include` printed."""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    first, *rest = head.splitlines()
    pairs = (line.partition(": ") for line in rest)
    return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


def events_in(text: str) -> Iterator[tuple[str, Any]]:
    """Kind and data of each server-sent event; comments are left out."""
    for block in text.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            kind = fields.get("event", "")
            yield kind, json.loads(fields["data"]) if kind else fields["data"]


@contextmanager
def hive(rbee: Rbee, *words: str, **environment: str) -> Iterator[HiveProcess]:
    """A hive that is ended, and must end well."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    running = HiveProcess(rbee, *words, **environment)
    try:
        yield running
        assert running.end() == 0
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()


def ask(port: int, head: bytes, body: bytes = b"") -> int | None:
    """The status that these very bytes are answered with; None where the connection is only closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as to:
        to.sendall(head + body)
        got = b""
        while b"\r\n" not in got and (piece := to.recv(4096)):
            got += piece
    return int(got.split()[1]) if got else None
