"""Nothing that somebody else has named drives the terminal: every byte that the screen writes is looked at.

A hundred payloads stand in every place that shows a foreign string. Two walls stop them: what comes from
outside is made visible where it comes in, and the gate looks at all text on its way out. Each does alone.
"""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.demo.hub import DemoHub, DemoRepo
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.paths import Root
from tests.cli.support import model_entry
from tests.e2e.support import Rbee, wait_for
from tests.e2e.terminal import Pty, processes_of, surroundings

_SEQUENCES = (
    *("\x1b]52;c;UFdO\x07", "\x1b]52;c;UFdO\x1b\\", "\x1b]0;PWN\x07", "\x1b]8;;http://pwn\x1b\\PWN"),
    *("\x1bP+q50574e\x1b\\", "\x1b_PWN\x1b\\", "\x1b^PWN\x1b\\", "\x1bXPWN\x1b\\", "\x9d52;c;UFdO\x9c"),
    *("\x90PWN\x9c", "\x9b5mPWN", "\x1b[5mPWN", "\x1b[6n", "\x1b[c", "\x1b[?47h", "\x1b[?9hPWN", "\x1bc"),
    *("\x1b(0", "\x1b]1337;File=:UFdO\x07", "\x1b]777;notify;PWN;PWN\x07", "\x07\x08PWN\x7f", "\x0e\x0f"),
    *("\r\nPWN\x0b\x0c", "\u202ePWN\u202c", "\u2066PWN\u2069"),
)
_FRAMES = ("{}", "name {} name", "{0}{0}", "[@click=app.end(1)]{}[/] [bold")
PAYLOADS = [frame.format(sequence) for frame in _FRAMES for sequence in _SEQUENCES]

# What Textual writes: moves, colours (none blinks), modes, questions, the keyboard's and the pointer's.
_OURS = re.compile(
    rb"\x1b\[(?:[0-9;]*[HJK]|(?!(?:[0-9]+;)*5(?:;|m))[0-9;]*m|\?(?:1049|25|1004|2004|7|2026|2048)[hl]"
    rb"|\?(?:2026|2048)\$p|>[0-9]+u|<u)|\x1b\]22;[a-z-]*\x07|\x1b\[(?:[0-9]+;)*[34]8;5;[0-9;]*m"
)
_DRIVES = re.compile(
    rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xaf]"
)


def drives(raw: bytes) -> list[bytes]:
    """What would be obeyed of what was written, with a little of its surroundings."""
    rest = _OURS.sub(b"", raw)
    return [rest[max(0, at.start() - 20) : at.end() + 20] for at in _DRIVES.finditer(rest)]


@pytest.fixture(scope="module")
def hub() -> Iterator[DemoHub]:
    """Repositories and files with such names, and errors that quote them."""
    files = {f"{name.replace('/', '|')}.gguf": b"GGUF" for name in PAYLOADS}
    repos = [DemoRepo(f"acme/{name}", {"a.gguf": b"GGUF"}, downloads=50) for name in PAYLOADS[:40]]
    mine = DemoRepo("acme/files", files, downloads=99, license=PAYLOADS[0])
    with DemoHub([mine, *repos, DemoRepo("acme/small", {"small.gguf": tiny.build("small")})]) as served:
        yield served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, hub: DemoHub) -> Path:
    """A root whose models, workers, jobs and logs are named so."""
    home = tmp_path_factory.mktemp("hostile") / "rbee"
    root = Root(home).prepare()
    Rbee(home, hub.url).run("pull", "acme/small")
    (record,) = root.jobs.glob("*.json")
    for number, payload in enumerate(PAYLOADS):
        name = payload.replace("/", "|").replace("\0", "")
        fields = ("name", "version", "license", "quantization", "architecture", "source_url", "repo")
        entry = model_entry(f"m{number:03}", **dict.fromkeys(fields, payload))
        put(home / "models" / f"m{number:03}", entry)
        put(home / "models" / name[:200], model_entry(payload))
        (home / "models" / f"loose {name[:180]}.gguf").write_bytes(b"GGUF")
        said = json.loads(record.read_text())
        outcome = {"state": "failed", "at": "2026-01-01T00:00:00Z", "error": payload, "hint": payload}
        job_id = f"{number:08x}"
        model = said["model"] | {"id": payload, "name": payload}
        changed = said | {"id": job_id, "outcome": outcome, "model": model, "repo": payload}
        (root.jobs / f"{job_id}.json").write_text(json.dumps(changed))
    worker = {"id": "evil", "name": PAYLOADS[1], "version": PAYLOADS[2], "implementation": PAYLOADS[3]}
    put(home / "workers" / "evil", {"artifact": worker | {"platform": "Linux", "binary_path": PAYLOADS[4]}})
    for name in ("install-evil.log", "m000.log"):
        (root.logs / name).write_text("\n".join(PAYLOADS), encoding="utf-8")
    return home


def put(place: Path, entry: dict) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "metadata.json").write_text(json.dumps(entry))


_WITHOUT_CLEAN = "import rbee_tui.engine.text as text; text.clean = lambda text: text"
_WITHOUT_GATE = (
    "import rbee_tui.ui.gate as gate; gate.Gate.apply = lambda self, segments, background: segments"
)
_MAIN = "from rbee_tui.__main__ import main; import sys; sys.argv = ['rbee']; main()"


class TestGate:
    """All places are walked through, and every byte is looked at."""

    @pytest.mark.parametrize(
        ("broken", "leaks"),
        [
            ([], False),
            ([_WITHOUT_CLEAN], False),
            ([_WITHOUT_GATE], False),
            ([_WITHOUT_CLEAN, _WITHOUT_GATE], True),
        ],
        ids=["whole", "gate-alone", "clean-alone", "mutant-without-both"],
    )
    def test_no_payload_gets_out(
        self, home: Path, hub: DemoHub, request: pytest.FixtureRequest, broken: list[str], leaks: bool
    ):
        """Lists, details, search, files, errors, logs, events, palette: text is all that it is.

        `--rounds` brings the walls together, too.
        """
        if broken != [_WITHOUT_CLEAN] and not leaks and not request.config.getoption("--rounds"):
            pytest.skip("a part of the campaign: --rounds")
        script = "; ".join([*broken, _MAIN])
        with Pty([sys.executable, "-c", script], surroundings(home, hub.url), 150, 50) as screen:
            screen.wait("1 Models", seconds=30)
            walk(screen, home, leaks=leaks)
            found = drives(bytes(screen.raw))
            if leaks:
                assert found
            else:
                assert screen.process.poll() is None, "an action was run"
                assert found[:5] == []
                screen.press("q")
                assert screen.ended() == 0
                assert drives(bytes(screen.raw)) == []
        wait_for(lambda: not processes_of(home))


def walk(screen: Pty, home: Path, *, leaks: bool) -> None:
    """Go everywhere. What a terminal would have obeyed may hide the words that are waited for."""

    def go(*keys: str, until: str = "") -> None:
        at = len(screen.raw)
        screen.press(*keys)
        if until and not leaks:
            screen.wait(until, at)
        settle(screen)

    facts = Facts(Root(home).facts)
    for payload in PAYLOADS:
        facts.tell("job.failed", payload, payload)
    settle(screen)
    for _ in range(4):
        go("\x1b[6~")
    go("enter", until="Move")
    go("escape", until="1 Models")
    go("y", until="Copy")
    go("escape", until="1 Models")
    go("e", until="Events")
    for _ in range(3):
        go("\x1b[6~")
    go("escape", until="1 Models")
    go("2", "g", "l", until="Install of")
    go("escape", until="1 Models")
    go("3", "enter", until="Move")
    go("escape", until="1 Models")
    for _ in range(2):
        go("\x1b[6~")
    go("1", "a", until="acme/files")
    go("down", "down", "enter")
    go("escape")
    go("escape")
    go("a", until="search words")
    go("acme/files", "enter", until="Download")
    for _ in range(4):
        go("\x1b[6~")
    go("enter")
    go("escape")
    go("escape")
    go("escape")
    go(":", until="Commands")
    go("escape")


def settle(screen: Pty) -> None:
    """Wait until nothing more is drawn for a moment."""
    before = -1
    while before != len(screen.raw):
        before = len(screen.raw)
        time.sleep(0.12)  # a moment is what is waited for
