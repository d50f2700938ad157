"""The start: the specification's lines in its order, the directories of a first run, what is refused."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rbee_tui.engine.errors import UsageError
from rbee_tui.hive import options
from rbee_tui.hive.serve import open_warning, own_url
from tests.cli.support import put_model
from tests.e2e.support import Rbee, wait_for
from tests.hive.support import HiveProcess, hive

SPECIFIED = """🐝 Starting rbee-hive on port 7835
📚 Model catalog initialized (0 models)
🔧 Worker catalog initialized (0 binaries)
📥 Model provisioner initialized (HuggingFace)
Listening on http://127.0.0.1:7835
Hive ready
💓 Heartbeat task started (sending to http://localhost:7833)""".splitlines()


def started(rbee: Rbee, *words: str, lines: int = 7, **environment: str) -> list[str]:
    """The lines of a start, the port as the specification has it."""
    running = HiveProcess(rbee, *words, **environment)
    if lines == len(SPECIFIED):
        assert running.process.stdout
        running.said.append(running.process.stdout.readline().rstrip("\n"))
    assert running.end() == 0
    return [line.replace(str(running.port), "7835") for line in running.said]


class TestLines:
    """Word for word."""

    def test_a_first_run(self, tmp_path: Path):
        """On a root that is not there yet; the directories are there when it is ready."""
        home = tmp_path / "deep" / "rbee"
        assert started(Rbee(home), "--queen-url", "http://localhost:7833") == SPECIFIED
        assert {path.name for path in home.iterdir()} == {"models", "workers", "tmp", "state"}
        assert [(home / name).stat().st_mode & 0o777 for name in ("models", "workers", "state")] == [
            0o755,
            0o755,
            0o700,
        ]

    def test_without_utf_8(self, tmp_path: Path):
        """The emoji are left out, the words stay."""
        said = started(Rbee(tmp_path / "rbee"), "--queen-url", "http://localhost:7833", LANG="C", LC_ALL="C")
        assert said == [re.sub(r"^[^A-Z]+", "", line) for line in SPECIFIED]

    def test_what_is_there_is_counted(self, tmp_path: Path):
        """Broken ones, too; and without a queen nobody is told."""
        put_model(tmp_path / "rbee", "one")
        put_model(tmp_path / "rbee", "two")
        said = started(Rbee(tmp_path / "rbee"), lines=6)
        assert said[1] == "📚 Model catalog initialized (2 models)"
        assert said[-1] == "Hive ready"

    def test_the_specification_s_command(self, tmp_path: Path):
        """`rbee-hive` is `rbee hive`."""
        code = "import sys; sys.argv = ['rbee-hive', 'token']; from rbee_tui.__main__ import hive; hive()"
        rbee = Rbee(tmp_path / "rbee")
        said = subprocess.run(
            [sys.executable, "-c", code], env=rbee.environment, capture_output=True, text=True, check=True
        )
        assert said.stdout == rbee.run("hive", "token")


class TestSignals:
    """What ends a hive, and what does not."""

    def test_nohup_keeps_it(self, tmp_path: Path):
        """A signal that is ignored when it starts stays so; the others end it."""
        rbee = Rbee(tmp_path / "rbee")
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            running = HiveProcess(rbee)
        finally:
            signal.signal(signal.SIGHUP, before)
        running.process.send_signal(signal.SIGHUP)
        ignored = re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{running.process.pid}/status").read_text())
        assert ignored
        assert int(ignored[1], 16) & 1 << (signal.SIGHUP - 1)
        assert running.curl("/health").body == "ok"
        assert running.end() == 0
        assert "asked" in running.log()[-1]


class TestOptions:
    """By word and by environment."""

    def test_by_environment(self, tmp_path: Path):
        """As the specification's installations set them."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        rbee = Rbee(tmp_path / "rbee")
        rbee.environment |= {
            "HIVE_PORT": str(port),
            "HIVE_ID": "gpu-7",
            "HIVE_QUEEN_URL": "http://127.0.0.1:9/",
        }
        process = rbee.start("hive")
        found = wait_for(lambda: status(rbee))
        process.terminate()
        assert process.communicate()[1] == "the hive has ended: workers go on, downloads stay wanted\n"
        assert (found["url"], found["hive_id"]) == (f"http://127.0.0.1:{port}", "gpu-7")
        assert found["queen_url"] == "http://127.0.0.1:9"
        assert found["pid"] == process.pid

    def test_another_address_says_what_it_opens(self, tmp_path: Path):
        """And still wants the token."""
        with hive(Rbee(tmp_path / "rbee"), "--bind", "0.0.0.0", "--name", "gpu.example.org") as process:
            assert process.curl("/v1/capabilities", token="").status == 401
            assert process.curl("/v1/capabilities").status == 200
            assert process.curl("/health", "-H", f"Host: gpu.example.org:{process.port}").status == 200
            assert process.curl("/health", "-H", f"Host: {os.uname().nodename}:{process.port}").status == 200
            assert process.curl("/health", "-H", f"Host: evil.example:{process.port}").status == 403
        assert process.said[4] == f"Listening on http://0.0.0.0:{process.port}"

    def test_what_it_opens(self):
        """Nothing on loopback."""
        assert open_warning(options.checked(), 7835) == ""
        assert open_warning(options.checked("::1"), 7835) == ""
        assert open_warning(options.checked("0.0.0.0"), 7835).startswith(
            "0.0.0.0:7835 is open to other machines"
        )

    @pytest.mark.parametrize(
        ("chosen", "url"),
        [
            (options.checked(), "http://127.0.0.1:1"),
            (options.checked("::1"), "http://[::1]:1"),
            (options.checked("0.0.0.0"), f"http://{os.uname().nodename}:1"),
            (options.checked("10.0.0.5", names=["gpu.example.org"]), "http://gpu.example.org:1"),
        ],
    )
    def test_where_others_find_it(self, chosen: options.Options, url: str):
        """What the queen is told."""
        assert own_url(chosen, 1) == url

    @pytest.mark.parametrize(
        "wrong",
        [
            {"bind": "nowhere"},
            {"bind": "127.0.0.1:80"},
            {"queen_url": "localhost:7833"},
            {"queen_url": "ftp://queen"},
            {"queen_url": "http://user:secret@queen"},
            {"queen_url": "http://"},
            {"queen_url": "http://queen?x"},
            {"hive_id": "a b"},
            {"hive_id": "\x1b[31m"},
            {"names": ["gpu:80"]},
            {"names": ["evil.example/"]},
        ],
    )
    def test_wrong_ones_are_refused(self, wrong: dict):
        """Before anything is opened."""
        with pytest.raises(UsageError):
            options.checked(**wrong)


class TestRefusals:
    """What keeps a hive from starting, in a sentence."""

    def test_a_second_one(self, tmp_path: Path):
        """One serves a root; it is named."""
        rbee = Rbee(tmp_path / "rbee")
        with hive(rbee) as process:
            second = rbee.start("hive", "--port", "0")
            said = second.communicate(timeout=60)[1]
            assert second.returncode == 4
            assert f"pid {process.process.pid} (rbee hive)" in said
            assert "one hive serves a root" in said

    def test_a_port_that_is_taken(self, tmp_path: Path):
        """It is named, and how to take another."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            process = Rbee(tmp_path / "rbee").start("hive", "--port", str(port))
            said = process.communicate(timeout=60)[1]
        assert process.returncode == 4
        assert f"cannot listen on 127.0.0.1:{port}" in said
        assert "--port" in said

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--until-idle",), "--no-listen"),
            (("--bind", "203.0.113.9"), "no address of this machine"),
            (("--port", "70000"), "70000"),
        ],
    )
    def test_wrong_words(self, tmp_path: Path, words: tuple[str, ...], said: str):
        """Exit code 2."""
        process = Rbee(tmp_path / "rbee").start("hive", *words)
        assert said in process.communicate(timeout=60)[1]
        assert process.returncode == 2


def status(rbee: Rbee) -> dict | None:
    """What `rbee hive status` says; None while there is none."""
    process = rbee.start("hive", "status", "--json")
    out = process.communicate(timeout=60)[0]
    return json.loads(out) if process.returncode == 0 else None
