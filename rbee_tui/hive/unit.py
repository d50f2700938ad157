"""The hive as a systemd user unit: its text, and putting it where systemd finds it."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.errors import NotFoundError, RbeeError, RefusedError, UsageError
from rbee_tui.engine.paths import make_directory
from rbee_tui.engine.text import clean

NAME = "rbee-hive.service"
# What the hive is to find as it is now. The Hub's token is no part of it: `rbee token set` keeps one.
CARRIED = (
    "RBEE_HOME",
    "HF_ENDPOINT",
    "HF_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
)
_PRIVATE = 0o600
_DIRECTORY_MODE = 0o755
_SECONDS = 60.0

# KillMode=process: workers are in the unit's control group, too, and go on without a hive.
_TEXT = """\
# Written by `rbee hive install`; `rbee hive uninstall` removes it.
[Unit]
Description=rbee hive: this machine's models and workers over HTTP
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
ExecStart=:{command}
{environment}Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2
KillMode=process
TimeoutStopSec=30

[Install]
WantedBy=default.target
"""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and what is left to do."""

    path: str
    started: bool
    """Whether the hive runs by it now; False where no manager of this user could be reached."""
    lingers: bool
    """Whether it starts with the machine and outlives the last logout."""
    remarks: list[str] = []


def text(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """The unit; raises UsageError for what cannot stand in one. Pure."""
    lines = [f'Environment="{_escaped(f"{name}={value}")}"\n' for name, value in environment.items()]
    words = " ".join(f'"{_escaped(word)}"' for word in command)
    return _TEXT.format(command=words, environment="".join(lines))


def _escaped(word: str) -> str:
    """A word for double quotes in a unit; the colon before the command spares its dollars."""
    if not word.isprintable():
        raise UsageError(f"{clean(word)!r} cannot stand in a unit")
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def path() -> Path:
    """Where this user's units lie."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    home = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return home / "systemd" / "user" / NAME


def command(words: Sequence[str]) -> list[str]:
    """How this very rbee is started as a hive."""
    return [sys.executable, "-m", "rbee_tui", "hive", *words]


def install(words: Sequence[str]) -> Installed:
    """Write the unit, have it started now and with every login; the same again replaces it.

    Raises RefusedError where there is no systemd, RbeeError with what systemctl says.
    """
    _require_systemd()
    at = path()
    carried = {name: value for name in CARRIED if (value := os.environ.get(name))}
    content = text(command(words), carried)
    make_directory(at.parent, _DIRECTORY_MODE)
    durable.write(at, content.encode(), mode=_PRIVATE)
    remarks: list[str] = []
    started = _manager_is_there()
    if started:
        _systemctl("daemon-reload")
        _systemctl("enable", NAME)
        _systemctl("restart", NAME)
    else:
        remarks.append(
            "no systemd manager of this user can be reached: log in, then "
            f"systemctl --user enable --now {NAME}"
        )
    lingers = lingering()
    if not lingers:
        remarks.append(
            "it ends with your last logout, workers too where the system ends a user's processes: "
            "loginctl enable-linger has it started with the machine"
        )
    return Installed(path=str(at), started=started, lingers=lingers, remarks=remarks)


def uninstall() -> Path:
    """Stop the hive and remove its unit; workers go on. Raises NotFoundError where there is none."""
    at = path()
    if not at.exists():
        raise NotFoundError(f"there is no {clean(str(at))}", hint="rbee hive install writes it")
    if shutil.which("systemctl") and _manager_is_there():
        _systemctl("disable", "--now", NAME)
    with durable.storage("remove", at):
        at.unlink()
        (at.parent / "default.target.wants" / NAME).unlink(missing_ok=True)
    if shutil.which("systemctl") and _manager_is_there():
        _systemctl("daemon-reload")
    return at


def lingering() -> bool:
    """Whether this user's manager runs from the machine's start to its end."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return False
    return (Path("/var/lib/systemd/linger") / name).exists()


def main_pid() -> int | None:
    """The pid of the hive that systemd runs by this unit; None where it runs none, or cannot be asked."""
    if shutil.which("systemctl") is None:
        return None
    said = _ask("show", "--property=MainPID", "--value", NAME).stdout.strip()
    return int(said) if said.isdigit() and int(said) else None


def _require_systemd() -> None:
    if sys.platform != "linux" or shutil.which("systemctl") is None:
        raise RefusedError(
            "this machine has no systemd to start the hive with",
            hint="have its own service manager run: " + " ".join(command(())),
        )


def _manager_is_there() -> bool:
    """Whether systemd runs for this user; a login by su or in a container has none."""
    return _ask("show-environment").returncode == 0


def _systemctl(*words: str) -> None:
    done = _ask(*words)
    if done.returncode:
        raise RbeeError(
            f"systemctl --user {' '.join(words)} failed: {clean(done.stderr.strip())}",
            hint=f"journalctl --user -u {NAME} says more",
        )


def _ask(*words: str) -> "subprocess.CompletedProcess[str]":
    """What systemctl says for this user's manager, and how it ended."""
    return subprocess.run(
        ["systemctl", "--user", *words], capture_output=True, check=False, text=True, timeout=_SECONDS
    )
