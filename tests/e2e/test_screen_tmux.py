"""The screen in a real terminal emulator: the whole path by the keys of its footer, and what others do."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import repos, tiny
from rbee_tui.demo.hub import DemoHub
from tests.cli.support import put_model
from tests.e2e.support import Rbee, wait_for
from tests.e2e.terminal import RBEE, Tmux, processes_of, surroundings, tmux

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
SAYS = repos.sentence(None)
MOST_KEYS = 12
"""From the first picture to the shell, the words of the question not counted."""
OTHERS_WITHIN, HANDS_WITHIN = 1.0, 11.0
SLACK = 2.0
"""Seconds that a busy machine and a look by tmux may take on top."""


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """The demo's Hub, at a rate at which one sees something come."""
    with DemoHub(repos.demo_repos(), rate=2_000_000) as served:
        yield served


class Newcomer:
    """Somebody who has seen nothing but the footer: a key that it does not offer cannot be pressed."""

    def __init__(self, terminal: Tmux) -> None:
        self.terminal = terminal
        self.keys = 0

    def press(self, key: str, word: str, *, then: str) -> str:
        """Press a key that is offered with this word, and wait for what it brings."""
        self.terminal.wait(f"{key} {word}")
        self.keys += 1
        self.terminal.press(key if len(key) == 1 else {"Esc": "Escape"}.get(key, key))
        return self.terminal.wait(then)


class TestThePath:
    """Add, watch, start, ask, stop, quit."""

    @pytest.mark.parametrize(
        ("words", "columns", "rows"), [(["demo"], 80, 24), (["demo"], 120, 40), ([], 120, 40)]
    )
    def test_by_the_keys_of_the_footer(
        self, tmp_path: Path, hub: DemoHub, words: list[str], columns: int, rows: int
    ):
        """The model says its sentence; with the demo nothing is left, else what was downloaded."""
        home = tmp_path / "rbee"
        environment = surroundings(home, hub.url)
        with tmux(tmp_path, [*RBEE, *words], environment, columns, rows) as terminal:
            one = Newcomer(terminal)
            terminal.wait("1 Models", "2 Workers", "3 Downloads", "No models yet.")
            one.press("a", "Add", then="rbee-demo/recital-gguf")
            one.press("Enter", "Its files", then="recital-f16.gguf")
            one.press("Enter", "Download", then="Enter Download   Esc Back")
            one.press("Enter", "Download", then="of 1 active")
            terminal.wait("recital-f16 is here and verified")
            one.press("s", "Start", then="llm-worker-xllamacpp")
            one.press("Enter", "Start", then="is ready on http://127.0.0.1:")
            one.press("t", "Try", then="ask something, then Enter")
            terminal.type("What do you say?")
            one.press("Enter", "Ask", then="tok/s")
            assert SAYS in terminal.screen()
            one.press("Esc", "Back", then="x Stop")
            one.press("x", "Stop", then="Stop the worker")
            one.press("Enter", "Stop", then="is stopped")
            one.press("q", "Quit", then="ended with 0")
            seen = terminal.screen()
            assert "Traceback" not in seen
            assert one.keys <= MOST_KEYS
            wait_for(lambda: not programs(home))
            if words:
                assert "nothing of it is left running" in seen
                assert not (home / "models").exists() or not list((home / "models").iterdir())
            else:
                (entry,) = Rbee(home).json("models", "list")
                assert entry["health"] == "ok"

    def test_a_demo_that_is_hung_up_leaves_nothing(self, tmp_path: Path):
        """Its worker is stopped and its files go, though nobody is there to read so."""
        home, place = tmp_path / "rbee", tmp_path / "tmp"
        place.mkdir()
        environment = surroundings(home, TMPDIR=str(place))
        with tmux(tmp_path, [*RBEE, "demo"], environment) as terminal:
            one = Newcomer(terminal)
            one.press("a", "Add", then="rbee-demo/recital-gguf")
            one.press("Enter", "Its files", then="recital-f16.gguf")
            one.press("Enter", "Download", then="Enter Download   Esc Back")
            one.press("Enter", "Download", then="is here and verified")
            one.press("s", "Start", then="llm-worker-xllamacpp")
            one.press("Enter", "Start", then="is ready on")
        wait_for(lambda: not processes_of(home))
        assert [each.name for each in place.iterdir() if each.name.startswith("rbee-demo-")] == []


class TestWhatOthersDo:
    """A screen that is open shows what happens on its root, whoever does it."""

    def test_it_appears(self, tmp_path: Path, hub: DemoHub):
        """Of another rbee within a second, of cp within eleven."""
        home = tmp_path / "rbee"
        rbee = Rbee(home, hub.url)
        model = tiny.write(tmp_path / "tiny.gguf", "tiny").path
        with tmux(tmp_path, RBEE, surroundings(home, hub.url)) as terminal:
            terminal.wait("No models yet.", "No workers yet.")
            rbee.run("models", "import", str(model), "--id", "imported")
            self.seen_within(terminal, "imported", OTHERS_WITHIN)
            rbee.run("workers", "register", "--help")
            rbee.run("pull", "--detach", f"{repos.OWNER}/endless-gguf")
            self.seen_within(terminal, "endless-f16", OTHERS_WITHIN)
            rbee.run("models", "remove", "imported", "--yes")
            self.gone_within(terminal, " imported ", OTHERS_WITHIN)
            put_model(tmp_path / "elsewhere", "copied")
            shutil.copytree(tmp_path / "elsewhere" / "models" / "copied", home / "models" / "copied")
            self.seen_within(terminal, "copied", HANDS_WITHIN)
            terminal.press("q")
        wait_for(lambda: not processes_of(home))

    def seen_within(self, terminal: Tmux, words: str, seconds: float) -> None:
        began = time.monotonic()
        terminal.wait(words, seconds=seconds + SLACK)
        assert time.monotonic() - began < seconds + SLACK

    def gone_within(self, terminal: Tmux, words: str, seconds: float) -> None:
        wait_for(lambda: not re.search(re.escape(words), list_of(terminal.screen())), seconds + SLACK)


def programs(home: Path) -> dict[int, str]:
    """What still runs of rbee: not what keeps the window open."""
    return {pid: words for pid, words in processes_of(home).items() if words != "cat"}


def list_of(screen: str) -> str:
    """The panes, without the line that narrates."""
    return "\n".join(screen.splitlines()[:-2])


class TestRoom:
    """What is shown at each size of a terminal."""

    def test_it_follows_the_window(self, tmp_path: Path):
        """Three panes, one at a time, a few words; and back again."""
        with tmux(tmp_path, RBEE, surroundings(tmp_path / "rbee"), 120, 40) as terminal:
            three = ("1 Models", "2 Workers", "3 Downloads")
            terminal.wait(*three)
            terminal.resize(59, 14)
            terminal.wait("1 Models", "q Quit")
            wait_for(lambda: "2 Workers" not in terminal.screen())
            terminal.press("2")
            wait_for(lambda: "1 Models" not in terminal.wait("2 Workers"))
            terminal.press("Tab")
            terminal.wait("3 Downloads")
            terminal.resize(30, 6)
            terminal.wait("this is 30x6; q")
            terminal.resize(80, 24)
            terminal.wait(*three)
            terminal.resize(60, 15)
            terminal.wait(*three, "No models yet.")
            terminal.resize(1, 1)
            terminal.resize(300, 100)
            terminal.wait(*three)
            terminal.press("q")
            terminal.wait("ended with 0")


class TestWords:
    """Characters that not every terminal has."""

    def test_a_locale_without_utf_8_is_told_so(self, tmp_path: Path):
        """In plain ASCII, frames included."""
        environment = surroundings(tmp_path / "rbee", LANG="C")
        with tmux(tmp_path, RBEE, environment) as terminal:
            seen = terminal.wait("this locale is not UTF-8: plain ASCII is shown", "+- 1 Models")
            assert seen.isascii()
