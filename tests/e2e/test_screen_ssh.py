"""The screen through a real ssh login: what a lost connection leaves, and what the next login finds."""

import getpass
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rbee_tui.demo import repos
from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.e2e.support import Rbee, wait_for
from tests.e2e.terminal import RBEE, Pty, processes_of, surroundings

SSHD = shutil.which(
    "sshd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
)
BIG = random.Random(11).randbytes(6 << 20)
RATE = 1 << 20
BLOCK = 8 << 20
HEADER = 4_000_000
"""Bytes that are asked for at most to read the header of a file without one: its first piece."""
PATH = "acme/big/big.gguf"
MOST_BYTES_A_SECOND = 5000
MOST_BYTES_TO_OPEN = 40_000

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="needs sshd"),
    pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh"),
]


@dataclass
class Server:
    """An ssh server of our own, and how to log in."""

    port: int
    directory: Path

    def login(self, *words: str, compressed: bool = False) -> list[str]:
        """The command that logs in with a terminal and runs these words."""
        options = {
            "IdentityFile": self.directory / "key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.directory / "known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "GlobalKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "EscapeChar": "none",
            "Compression": "yes" if compressed else "no",
        }
        chosen = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        to = ["-p", str(self.port), f"{getpass.getuser()}@127.0.0.1"]
        return ["ssh", "-tt", "-F", "/dev/null", *chosen, *to, *words]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On loopback, with its own keys, for the user who runs the tests."""
    place = tmp_path_factory.mktemp("ssh")
    place.chmod(0o700)
    for name in ("host", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True, timeout=20
        )
    shutil.copy(place / "key.pub", place / "authorized_keys")
    if os.geteuid() == 0:  # what the distribution's start script makes
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": place / "host",
        "AuthorizedKeysFile": place / "authorized_keys",
        "PidFile": "none",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "StrictModes": "no",
        "PermitRootLogin": "prohibit-password",
        "PrintMotd": "no",
        "PrintLastLog": "no",
    }
    config = place / "config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
    assert SSHD is not None
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port))
        yield Server(port, place)
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """The demo's repositories, and one that takes a while."""
    with DemoHub([*repos.demo_repos(), DemoRepo("acme/big", {"big.gguf": BIG})]) as served:
        yield served


def far_screen(home: Path, hub: DemoHub) -> list[str]:
    """What a login runs: the screen on a root, as a shell there would."""
    environment = surroundings(home, hub.url)
    names = ("RBEE_HOME", "HF_ENDPOINT", "HF_HOME", "PYTHONPATH", "LANG")
    return ["env", *(f"{name}={environment[name]}" for name in names if name in environment), *RBEE]


class TestLogin:
    def test_a_lost_connection_loses_nothing(self, tmp_path: Path, server: Server, hub: DemoHub):
        """Browse, download, start, ask; the link is cut while another download runs; all is there again."""
        home = tmp_path / "rbee"
        rbee = Rbee(home, hub.url)
        login = server.login(*far_screen(home, hub))
        with Pty(login, surroundings(home, hub.url), 80, 24) as first:
            first.wait("No downloads.", seconds=30)
            self.add(first, "recital-gguf")
            first.wait("here and verified")
            first.press("s")
            first.wait("Enter Start")
            first.press("enter")
            first.wait("t tries it out")
            first.press("t")
            first.wait("ask something")
            first.press("hello", "enter")
            first.wait(repos.sentence(None))
            at = len(first.raw)
            first.press("escape")
            first.wait("1 Models", at)
            hub.rate = RATE
            self.add(first, "acme/big", at)
            wait_for(lambda: job(rbee)["downloaded"] > 0)
            hub.rate = RATE // 16  # it is still to be under way at the next login
            first.signal(signal.SIGKILL)
            first.process.wait(20)
        wait_for(lambda: not screens(home), 5)
        wait_for(lambda: job(rbee)["state"] == "running")
        (worker,) = rbee.json("ps")
        with Pty(login, surroundings(home, hub.url), 80, 24) as second:
            for there in ("recital-f16", "ready", "coming", "2 Workers"):
                second.wait(there, seconds=30)
            hub.rate = None
            wait_for(lambda: job(rbee)["state"] == "done")
            second.press("q")
            assert second.ended() == 0
            assert second.open_modes() == set()
            assert "recital-f16 keeps running on" in second.shown()
        assert rbee.json("ps")[0]["pid"] == worker["pid"]
        assert hub.bytes_sent(PATH) <= HEADER + len(BIG) + BLOCK, "at most the block under way came twice"
        published = home / "models" / "big" / "big.gguf"
        assert hashlib.sha256(published.read_bytes()).digest() == hashlib.sha256(BIG).digest()
        rbee.run("stop", "--all")
        wait_for(lambda: not processes_of(home))

    def test_few_bytes_cross_the_line(self, tmp_path: Path, server: Server, hub: DemoHub):
        """While a download runs, no more than a slow line carries easily."""
        home = tmp_path / "rbee"
        hub.rate = RATE
        login = server.login(*far_screen(home, hub), compressed=True)
        with Pty(login, surroundings(home, hub.url), 80, 24) as screen:
            screen.wait("No downloads.", seconds=30)
            opened = len(screen.raw)
            self.add(screen, "acme/big")
            screen.wait("downloading big")
            at, sent = len(screen.raw), hub.bytes_sent(PATH)
            wait_for(lambda: hub.bytes_sent(PATH) - sent >= 3 * RATE)
            rate = (len(screen.raw) - at) / 3
            assert opened < MOST_BYTES_TO_OPEN
            assert rate < MOST_BYTES_A_SECOND
            hub.rate = None
            screen.wait("here and verified")
            screen.press("q")
            assert screen.ended() == 0
        wait_for(lambda: not processes_of(home))

    def add(self, screen: Pty, words: str, since: int = 0) -> None:
        screen.press("a")
        screen.wait("search words", since)
        if "/" in words:
            screen.press(words)
        else:
            screen.wait(words, since)
        screen.press("enter")
        screen.wait("Enter Download", since)
        at = len(screen.raw)
        screen.press("enter")
        screen.wait("Enter Download   Esc Back", at)
        screen.press("enter")


def screens(home: Path) -> list[int]:
    return [pid for pid, words in processes_of(home).items() if words.endswith("-m rbee_tui")]


def job(rbee: Rbee) -> dict:
    return next(each for each in rbee.json("jobs") if each["model_id"] == "big")
