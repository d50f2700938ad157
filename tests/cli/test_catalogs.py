"""A catalog from the command line: published, served, trusted, installed from."""

import json
import re
import signal
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.cli import guard
from rbee_tui.demo import tiny
from tests.cli.support import Command
from tests.engine.workers.support import FAKE

ID = "llm-worker-lan"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A stand-in for llama-server."""
    path = tmp_path / "llama-server"
    path.write_text(FAKE.replace("PYTHON", sys.executable))
    path.chmod(0o755)
    return path


class Here(Command):
    """The command in this very process: a process for each verb would be most of the time."""

    def __init__(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        super().__init__(home)
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def ended(self, *words: str, text: str | None = None) -> tuple[int, str, str]:
        """Run a verb to its end: its exit code and both outputs."""
        assert text is None
        self._monkeypatch.setenv("RBEE_HOME", str(self.home))
        self._capfd.readouterr()
        code = guard.run(list(words))
        return code, *self._capfd.readouterr()


@pytest.fixture
def server(tmp_path: Path, monkeypatch, capfd) -> Command:
    """The machine that publishes."""
    return Here(tmp_path / "server", monkeypatch, capfd)


@pytest.fixture
def client(tmp_path: Path, monkeypatch, capfd) -> Command:
    """The machine that installs."""
    return Here(tmp_path / "client", monkeypatch, capfd)


@pytest.fixture
def url(server: Command, program: Path) -> Iterator[str]:
    """Its catalog, served with a program in it."""
    server.run("workers", "publish", str(program), "--id", ID, "--license", "MIT")
    serving = Command(server.home).start("workers", "serve", "--port", "0")
    assert serving.stdout
    yield serving.stdout.readline().strip()
    serving.send_signal(signal.SIGTERM)
    _, said = serving.communicate(timeout=60)
    assert serving.returncode == 0, said
    assert "1 worker is published; the key is ed25519:" in said


class TestTheWholeWay:
    def test_from_one_machine_to_another(self, server: Command, client: Command, url: str):
        """The key is compared, pinned, and what it signed is installed."""
        key = server.json("workers", "key")["key"]
        client.fails("workers", "install", ID, "--from", url, code=2, saying="Is it the same?")
        client.fails(
            "workers", "install", ID, "--from", url, "--key", "ed25519:x", code=2, saying="is not the key"
        )
        entry = client.json("workers", "install", ID, "--from", url, "--key", key)
        assert (entry["health"], entry["artifact"]["version"]) == ("ok", "4404")
        assert (entry["artifact"]["catalog"], entry["artifact"]["signed_by"]) == (url, key)
        assert entry["artifact"]["runtime"] == "llama-server"
        (known,) = client.json("workers", "catalogs")
        assert (known["pin"]["url"], known["pin"]["version"]) == (url, 1)
        assert f"{ID} 4404" in client.run("workers", "catalogs", "--refresh")
        client.run("workers", "remove", ID, "--yes")
        offered = {each["id"]: each for each in client.json("workers")}
        assert offered[ID]["offer"]["catalog"] == url
        assert client.run("workers", "install", ID) == f"{ID}\n"
        assert client.run("workers", "distrust", url) == f"{url}\n"
        client.fails(
            "workers", "install", "nope", "--from", "bundled", code=3, saying="there is no worker 'nope'"
        )

    def test_the_key_that_is_shown_is_the_server_s(self, server: Command, client: Command, url: str):
        """`--yes` takes it as it comes, as on a line that one trusts."""
        key = server.run("workers", "key").strip()
        code, out, err = client.ended("workers", "trust", url, "--yes")
        assert (code, out) == (0, f"{url}\n")
        assert key in err
        other = "ed25519:" + "A" * 43 + "="
        client.fails("workers", "trust", url, "--key", other, code=4, saying="another key")
        _, _, err = client.ended("workers", "trust", url, "--yes")
        assert f"was trusted by another key until now:\n  {other}" in err

    def test_a_reader_without_rbee(self, url: str):
        """The specification's three endpoints."""
        with urllib.request.urlopen(f"{url}/workers", timeout=20) as answer:
            (entry,) = json.load(answer)["workers"]
        with urllib.request.urlopen(f"{url}/workers/{ID}/download", timeout=20) as answer:
            assert len(answer.read()) == entry["size_bytes"]

    def test_what_is_withdrawn(self, server: Command, url: str):
        """It is gone at once."""
        assert server.run("workers", "unpublish", ID) == f"{ID}\n"
        with urllib.request.urlopen(f"{url}/workers", timeout=20) as answer:
            assert json.load(answer)["workers"] == []
        server.run("workers", "publish", str(server.home.parent / "llama-server"), "--id", ID)


class TestVersions:
    def test_a_newer_one_and_the_way_back(
        self, server: Command, client: Command, program: Path, url: str, tmp_path: Path
    ):
        """An update stays with the catalog that the worker came from; either version can be started."""
        client.run("workers", "install", ID, "--from", url, "--yes")
        assert client.json("workers", "update") == [
            {"id": ID, "before": "4404", "after": "4404", "changed": False}
        ]
        program.write_text(program.read_text().replace("version: 4404", "version: 4405"))
        server.run("workers", "publish", str(program), "--id", ID)
        client.run("workers", "catalogs", "--refresh")
        (entry,) = [each for each in client.json("workers") if each["id"] == ID]
        assert entry["offered_version"] == "4405"
        assert f"4405 is offered: rbee workers update {ID}" in client.run("workers")
        assert client.run("workers", "update", ID) == f"{ID}\n"
        model = tiny.write(tmp_path / "tiny.gguf", "A sentence.").path
        client.run("models", "import", str(model), "--id", "tiny")
        assert client.json("start", "tiny", "--worker", f"{ID}@4404")["worker"] == ID
        client.run("stop", "tiny")
        client.fails("start", "tiny", "--worker", f"{ID}@1", code=3, saying="has no version '1' here")
        assert client.run("workers", "rollback", ID) == f"{ID}\n"
        listed = client.json("workers", "versions", ID)
        assert [(each["version"], each["in_use"]) for each in listed] == [("4405", False), ("4404", True)]
        assert "4405" in client.run("workers", "versions", ID)
        assert client.run("workers", "remove", f"{ID}@4405", "--yes") == f"{ID}@4405\n"
        client.fails("workers", "rollback", ID, code=3, saying="no earlier version")
        client.fails("workers", "update", "nope", code=3, saying="there is no worker 'nope'")

    def test_nothing_to_update(self, client: Command):
        """It is said."""
        code, out, err = client.ended("workers", "update")
        assert (code, out, err) == (0, "", "no worker here came from a listing\n")


class TestWhatMakesNoSense:
    def test_publishing(self, server: Command, program: Path, tmp_path: Path):
        """A program has to be given an id, and has to say what it is."""
        publish = ("workers", "publish")
        server.fails(*publish, str(program), code=2, saying="published under an id")
        server.fails(*publish, str(program), "--id", "Up", code=2, saying="cannot be the id")
        server.fails(*publish, str(tmp_path / "gone"), "--id", "x", code=2, saying="there is no file")
        server.fails(*publish, "llm-worker-cpu", "--id", "x", code=2, saying="are for a program")
        server.fails(*publish, "nope", code=3, saying="there is no worker 'nope'")
        program.write_text("#!/bin/sh\n")
        server.fails(*publish, str(program), "--id", "x", code=2, saying="which version it is")
        said = server.json(*publish, str(program), "--id", "x", "--release", "1 beta", "--type", "cuda")
        assert (said["version"], said["worker_type"], said["filename"]) == ("1 beta", "cuda", "x")

    def test_serving(self, server: Command, url: str):
        """A busy port is named."""
        port = re.search(r":(\d+)$", url)
        assert port
        server.fails("workers", "serve", "--port", port[1], code=4, saying=f"port {port[1]} cannot be had")
