"""No verb writes outside the root: each is run, and all that it opens, makes, moves or removes is seen."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rbee_tui.cli.command import rbee
from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from tests.cli.support import CHECKOUT
from tests.engine.others import hub_cache, tree

NAME, OLD, NEW = "tiny-f16.gguf", tiny.build("it was"), tiny.build("it is now")
# Every process of the interpreter's is watched, those that a verb starts among them.
WATCH = """
import os, sys
_log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_last = {"os.rename": 2, "os.link": 1, "os.symlink": 1}
_events = {"os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime", *_last}
def _absolute(path, at):
    path = os.fsdecode(path)
    if not os.path.isabs(path):
        base = os.readlink(f"/proc/self/fd/{at}") if isinstance(at, int) and at >= 0 else os.getcwd()
        path = os.path.join(base, path)
    return path
def _watch(event, args):
    if event == "open":
        path, mode, flags = args
        touched = [(path, None)] if isinstance(flags, int) and flags & _writes else []
    elif event == "os.rename":
        touched = [(args[0], args[2]), (args[1], args[3])]
    elif event in ("os.link", "os.symlink"):
        touched = [(args[1], args[3] if event == "os.link" else args[2])]
    elif event in _events:
        touched = [(args[0], args[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else None)]
    else:
        return
    for path, at in touched:
        if not isinstance(path, int):
            os.write(_log, f"{event} {_absolute(path, at)}\\n".encode())
sys.addaudithook(_watch)
"""
RUN = """
import json, sys
from rbee_tui.cli.guard import run
for words in json.loads(sys.argv[1]):
    sys.stderr.write(f"== {' '.join(words)}\\n")
    sys.stderr.write(f"-- {run(words)}\\n")
    sys.stderr.flush()
"""
# The demo's root is a temporary one, removed with it; a catalog is served until somebody ends it; what makes
# the system start a hive writes where the system looks.
EXEMPT = {
    ("demo",),
    ("workers", "serve"),
    *(("hive", verb) for verb in ("install", "autostart", "uninstall")),
}
UPDATE = ["models", "update", "--all"]


class House:
    """A home, a temporary directory and a working directory, all empty, and a root in its usual place."""

    def __init__(self, at: Path, endpoint: str) -> None:
        self.at, self.log = at / "outside", at / "watch.log"
        self.root = self.at / "home/.cache/rbee"
        for name in ("home", "tmp", "work", "theirs"):
            (self.at / name).mkdir(parents=True)
        (at / "watch").mkdir()
        (at / "watch/sitecustomize.py").write_text(WATCH)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.at / "home"),
            "TMPDIR": str(self.at / "tmp"),
            "HF_HOME": str(self.at / "theirs/hf"),
            "HF_ENDPOINT": endpoint,
            "UV_INDEX_URL": "http://127.0.0.1:9",
            "UV_HTTP_RETRIES": "0",
            # What uv keeps for itself, and where, is its user's affair.
            "UV_CACHE_DIR": str(at / "uv"),
            "WATCH_LOG": str(self.log),
            "PYTHONPATH": f"{at / 'watch'}:{CHECKOUT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }

    def run(self, verbs: list[list[str]]) -> str:
        """Run verbs one after another; what they say at standard error, with their exit codes."""
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(verbs)],
            env=self.environment,
            cwd=self.at / "work",
            input="hf_token\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def outside(self) -> dict[str, tuple[object, ...]]:
        """All that is not the root."""
        return {
            name: what[:1] + what[2:]  # a directory's time changes when the root is made in it
            for name, what in tree(self.at).items()
            if not (self.at / name).is_relative_to(self.root) and name != "home/.cache"
        }

    def written(self) -> set[str]:
        """What was touched outside the root."""
        lines = [line.partition(" ")[2] for line in self.log.read_text().splitlines()]
        free = ("/dev/", "/proc/")
        return {
            path
            for path in map(os.path.normpath, lines)
            if not Path(path).is_relative_to(self.root)
            and not path.startswith(free)
            and path not in map(str, self.root.parents)
        }


@pytest.fixture
def repo() -> DemoRepo:
    """One model."""
    return DemoRepo("acme/tiny", {NAME: OLD, "README.md": b"# x"})


@pytest.fixture
def house(tmp_path: Path, repo: DemoRepo) -> Iterator[House]:
    """With a model of the Hub's library, one that lies about, and a server to register."""
    with DemoHub([repo, DemoRepo("acme/other", {"other.gguf": NEW})]) as hub:
        made = House(tmp_path, hub.url)
        hub_cache(made.at / "theirs/hf/hub", "acme/cached", {"cached.gguf": tiny.build("cached")})
        (made.at / "theirs/loose.gguf").write_bytes(tiny.build("loose"))
        server = made.at / "theirs/llama-server"
        server.write_text("#!/bin/sh\necho 'version: 4404 (abc)'\nexit 1\n")
        server.chmod(0o755)
        yield made


def verbs(at: Path) -> list[list[str]]:
    """Every verb once at least, in an order in which most have something to do."""
    said = [
        "search tiny", "files acme/tiny", "token", "token set", "token list", "token forget",
        f"pull acme/tiny:{NAME}", "fit acme/other", "models", "models list", "models show tiny-f16",
        "models verify tiny-f16", "models outdated", "models repair tiny-f16", "models elsewhere",
        f"models import {at}/theirs/loose.gguf --id copied",
        f"models import {at}/theirs/loose.gguf --id linked --link",
        f"models import {at}/theirs/loose.gguf --id placed --in-place",
        "models adopt acme/cached:cached.gguf", "models remove cached -y",
        "models adopt --in-place acme/cached:cached.gguf", "models verify --all", "models remove cached -y",
        "models remove placed -y", f"workers register {at}/theirs/llama-server", "workers", "workers list",
        "workers install llm-worker-cpu", "start copied", "start copied --explain", "ps", "logs copied",
        "prompt copied hello", "stop copied", "workers remove llama-server -y",
        "pull acme/other --detach", "hive --no-listen --until-idle", "hive status", "hive token",
        "jobs", "jobs list", "jobs cap 1MB/s", "jobs cap off", "jobs partials", "jobs purge -y",
        *(f"jobs {verb} 00000000" for verb in ("show", "take", "up", "down", "top", "bottom")),
        *(f"{verb} 00000000" for verb in ("pause", "resume", "cancel", "retry")),
        "run copied hello", "presets", "presets list", "presets forget copied", "workers versions",
        "workers update",
        "workers rollback llm-worker-cpu", "settings", "settings list", "settings set idle never",
        "pin copied", "stop --all", "workers key",
        f"workers publish {at}/theirs/llama-server --id mine", "workers unpublish mine", "workers catalogs",
        "workers trust http://127.0.0.1:9", "workers distrust http://127.0.0.1:9", "hardware",
        "completion bash", "--plain", "disk",
    ]  # fmt: skip
    return [each.split() for each in said]


def every_verb(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each verb there is."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from every_verb(command, (*before, name))


class TestOutside:
    """The root is all that rbee has."""

    def test_every_verb_is_run(self):
        """A new one has to be watched, too."""
        run = {tuple(words[:n]) for words in [*verbs(Path("/x")), UPDATE] for n in (1, 2)}
        assert {each for each in every_verb(rbee) if each not in run} == EXEMPT

    def test_nothing_is_written_there(self, house: House, repo: DemoRepo):
        """Neither in the home, nor in the temporary or the working directory, nor anywhere else."""
        before = house.outside()
        said = house.run(verbs(house.at))
        repo.push({NAME: NEW})
        said += house.run([UPDATE])
        codes = dict(
            zip(
                *[iter(line[3:] for line in said.splitlines() if line[:3] in ("== ", "-- "))] * 2, strict=True
            )
        )
        done = {words for words, code in codes.items() if code == "0"}
        for words in ("models update --all", f"pull acme/tiny:{NAME}", "pull acme/other --detach"):
            assert words in done, said
        assert {words for words in codes if words.startswith("models")} <= done, said
        assert "1" not in codes.values(), said
        assert house.written() == set()
        assert house.outside() == before

    def test_a_write_is_seen(self, house: House):
        """The checks above are not blind."""
        before = house.outside()
        house.environment["XDG_CACHE_HOME"] = house.environment["RBEE_HOME"] = str(house.at / "work/cache")
        house.run([["models"]])
        assert f"{house.at}/work/cache/models" in house.written()
        assert house.outside() != before
