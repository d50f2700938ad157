"""The systemd unit: accepted by systemd itself, run as it is written, put in place and taken away."""

import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rbee_tui.engine.errors import NotFoundError, RbeeError, RefusedError, UsageError
from rbee_tui.hive import unit
from tests.e2e.support import HERE, Rbee
from tests.hive.support import hive

ODD = '/a b/"c"/%h/$HOME/${x}/\\n/é'
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$0.said"
[ "$2" = show-environment ] && exit "$(cat "$0.manager")"
[ "$2" = "$(cat "$0.fails" 2>/dev/null)" ] && { echo "it does not want to" >&2; exit 1; }
[ "$2" = show ] && cat "$0.pid" 2>/dev/null
exit 0
"""


def verified(text: str, place: Path) -> subprocess.CompletedProcess[str]:
    """What systemd says of a unit."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    path = place / unit.NAME
    path.write_text(text)
    place.chmod(0o700)
    return subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )


def words_of(text: str) -> list[str]:
    """The command of a unit, as systemd takes it apart."""
    found = re.search(r"^ExecStart=:(.*)$", text, re.MULTILINE)
    assert found
    return [word.replace("%%", "%") for word in shlex.split(found[1])]


def environment_of(text: str) -> dict[str, str]:
    """The environment of a unit."""
    pairs = [
        shlex.split(each)[0].replace("%%", "%")
        for each in re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    ]
    return dict(pair.split("=", 1) for pair in pairs)


class TestText:
    """What is written."""

    @pytest.mark.parametrize("words", [[], ["--port", "0", "--hive-id", "gpu-7"], ["--name", ODD]])
    def test_systemd_accepts_it(self, tmp_path: Path, words: list[str]):
        """Whatever stands in it, without a remark."""
        done = verified(unit.text(unit.command(words), {"RBEE_HOME": ODD}), tmp_path)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    def test_the_check_can_fail(self, tmp_path: Path):
        """The mutant puts a word as it is."""
        text = unit.text(unit.command([]), {}).replace('"hive"', '"hive')
        assert verified(text, tmp_path).returncode != 0

    def test_words_come_back_as_they_went_in(self):
        """Quotes, per cent, dollars, backslashes."""
        text = unit.text(["/x", ODD], {"RBEE_HOME": ODD})
        assert words_of(text) == ["/x", ODD]
        assert environment_of(text) == {"RBEE_HOME": ODD}
        assert "%" not in text.replace("%%", ""), "systemd would put something else in its place"

    @pytest.mark.parametrize("word", ["a\nExecStart=/bin/sh", "\0", "\x1b[31m", "a\u2028b"])
    def test_what_would_be_another_line_is_refused(self, word: str):
        """In a word and in the environment."""
        with pytest.raises(UsageError):
            unit.text(["/x", word], {})
        with pytest.raises(UsageError):
            unit.text(["/x"], {"RBEE_HOME": word})

    def test_workers_go_on(self):
        """Only the hive itself is signalled when the unit ends, and a crash starts it again."""
        lines = unit.text(["/x"], {}).splitlines()
        assert {"KillMode=process", "Restart=on-failure", "WantedBy=default.target"} <= set(lines)


class TestRunning:
    """The command of the unit."""

    def test_it_runs_as_written(self, tmp_path: Path):
        """It says to systemd that it is ready, and ends well when it is asked to."""
        rbee = Rbee(tmp_path / "rbee")
        text = unit.text(unit.command(["--port", "0", "--queen-url", ""]), {"RBEE_HOME": str(rbee.home)})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(60)
            environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(HERE)}
            environment |= environment_of(text) | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
            process = subprocess.Popen(
                words_of(text), env=environment, cwd="/", stdout=subprocess.PIPE, text=True
            )
            assert manager.recv(100) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0].splitlines()[-1] == "Hive ready"
        assert process.returncode == 0


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that notes what it is told, with a manager to tell it to, and nothing else on the PATH."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    Path(f"{program}.manager").write_text("0")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return program


def told(systemctl: Path) -> list[str]:
    """What it was told."""
    said = Path(f"{systemctl}.said").read_text().splitlines()
    return [line.removeprefix("--user ") for line in said if " show" not in line]


class TestPlace:
    """Where the unit goes, and how systemd learns of it."""

    def test_installed_and_removed(self, systemctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Readable by its owner alone: a proxy's password may stand in it."""
        monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        done = unit.install(["--port", "1234"])
        path = tmp_path / "config" / "systemd" / "user" / "rbee-hive.service"
        assert (done.path, done.started) == (str(path), True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert words_of(path.read_text()) == [sys.executable, "-m", "rbee_tui", "hive", "--port", "1234"]
        assert environment_of(path.read_text())["HTTPS_PROXY"] == "http://me:secret@proxy"
        assert "hf_secret" not in path.read_text()
        assert told(systemctl) == ["daemon-reload", f"enable {unit.NAME}", f"restart {unit.NAME}"]
        unit.install([])
        assert words_of(path.read_text())[-1] == "hive"
        unit.uninstall()
        assert not path.exists()
        assert told(systemctl)[-2:] == [f"disable --now {unit.NAME}", "daemon-reload"]
        with pytest.raises(NotFoundError):
            unit.uninstall()

    def test_without_a_manager(self, systemctl: Path):
        """As under su: it is written, and what is left to do is said."""
        Path(f"{systemctl}.manager").write_text("1")
        done = unit.install([])
        assert not done.started
        assert f"systemctl --user enable --now {unit.NAME}" in done.remarks[0]
        assert Path(done.path).exists()
        unit.uninstall()

    def test_lingering_is_said(self, systemctl: Path, monkeypatch: pytest.MonkeyPatch):
        """A unit of a user who does not linger ends with the last logout."""
        monkeypatch.setattr(unit, "lingering", lambda: False)
        assert "loginctl enable-linger" in unit.install([]).remarks[-1]
        monkeypatch.setattr(unit, "lingering", lambda: True)
        assert unit.install([]).remarks == []

    def test_what_systemctl_says_is_said(self, systemctl: Path):
        """Its own words."""
        Path(f"{systemctl}.fails").write_text("restart")
        with pytest.raises(RbeeError, match=r"restart rbee-hive\.service failed: it does not want to"):
            unit.install([])

    def test_a_machine_without_systemd(self, systemctl: Path):
        """Is told what its own service manager has to run."""
        systemctl.unlink()
        os.environ["PATH"] = str(systemctl.parent)
        with pytest.raises(RefusedError) as caught:
            unit.install([])
        assert "-m rbee_tui hive" in caught.value.hint

    def test_beside_a_hive_that_systemd_did_not_start(self, systemctl: Path, tmp_path: Path):
        """It is named, and nothing is written: its unit would fail again and again."""
        with hive(Rbee(tmp_path / "rbee")) as process:
            refused = process.rbee.start("hive", "install")
            said = refused.communicate(timeout=60)[1]
            assert refused.returncode == 4
            assert f"a hive runs here already (pid {process.process.pid})" in said
            assert not unit.path().exists()
            Path(f"{systemctl}.pid").write_text(str(process.process.pid))
            assert unit.main_pid() == process.process.pid
            process.rbee.run("hive", "install")
            assert unit.path().exists()

    def test_by_the_command(self, systemctl: Path, tmp_path: Path):
        """What was given by word and by environment is what the unit starts."""
        rbee = Rbee(tmp_path / "rbee")
        rbee.environment |= {"HIVE_ID": "gpu-7"}
        said = rbee.json("hive", "install", "--port", "9", "--name", "a", "--name", "b")
        path = Path(said["path"])
        assert words_of(path.read_text())[4:] == [
            "--port",
            "9",
            "--name",
            "a",
            "--name",
            "b",
            "--hive-id",
            "gpu-7",
        ]
        assert environment_of(path.read_text())["RBEE_HOME"] == str(rbee.home)
        assert rbee.run("hive", "uninstall").strip() == str(path)
        assert not path.exists()
        refused = rbee.start("hive", "install", "--bind", "nowhere")
        assert "not an address" in refused.communicate(timeout=60)[1]
        assert refused.returncode == 2
