"""Terminals as they are: what is written to each kind of them, and where no screen is opened."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo import repos
from rbee_tui.demo.hub import DemoHub
from tests.cli.support import put_model
from tests.e2e.terminal import RBEE, SECONDS, Pty, surroundings

_COLOUR = re.compile(rb"\x1b\[([0-9;]*)m")


@pytest.fixture
def hub() -> Iterator[DemoHub]:
    """The demo's Hub."""
    with DemoHub(repos.demo_repos()) as served:
        yield served


def walked(home: Path, hub: DemoHub, **environment: str) -> bytes:
    """All bytes of a walk through lists, help, search, question, download and details."""
    put_model(home, "na\u00efve-\u6f22\u5b57", name="\u6f22\u5b57")
    with Pty(RBEE, surroundings(home, hub.url, **environment), 80, 24) as screen:
        screen.wait("1 Models")
        screen.wait("No workers yet.")
        for key, shows in (("?", "Moving"), ("a", "recital-gguf")):
            screen.press(key)
            screen.wait(shows)
            if key == "?":
                at = len(screen.raw)
                screen.press("escape")
                screen.wait("1 Models", at)
        for shows in ("recital-f16.gguf", "Enter Download   Esc", "here and verified"):
            screen.press("enter")
            screen.wait(shows)
        screen.press("1", "enter")
        screen.wait("directory")
        at = len(screen.raw)
        screen.press("escape")
        screen.wait("1 Models", at)
        screen.press("q")
        assert screen.ended() == 0
        assert screen.restored
        assert screen.open_modes() == set()
        return bytes(screen.raw)


def colours(raw: bytes) -> set[bytes]:
    """Every colour that was asked for, but the terminal's own."""
    asked = {one for many in _COLOUR.findall(raw) for one in parameters(many)}
    return {each for each in asked if each[:1] in b"349" and each not in (b"3", b"4", b"9", b"39", b"49")} | {
        each for each in asked if each[:2] == b"10" and len(each) == 3
    }


def parameters(many: bytes) -> Iterator[bytes]:
    """The colours of a sequence, `38;5;n` and `38;2;r;g;b` as one."""
    yield from re.findall(rb"[34]8;5;[0-9]+|[34]8;2;[0-9]+;[0-9]+;[0-9]+|[0-9]+", many)


class TestCharacters:
    @pytest.mark.parametrize(
        "locale",
        [{"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "de_DE.ISO-8859-1"}],
        ids=["LANG=C", "LC_ALL=C", "Latin-1"],
    )
    def test_a_locale_without_utf_8(self, tmp_path: Path, hub: DemoHub, locale: dict[str, str]):
        """Not one byte beyond ASCII is written, whatever is shown."""
        raw = walked(tmp_path / "rbee", hub, **locale)
        assert [byte for byte in raw if byte > 127] == []
        assert b"+-" in raw

    def test_one_with_it(self, tmp_path: Path, hub: DemoHub):
        """The check sees what is beyond ASCII, where there is something."""
        raw = walked(tmp_path / "rbee", hub)
        assert "\u256d\u2500" in raw.decode()

    def test_keys_that_are_no_text(self, tmp_path: Path):
        """A byte that is not UTF-8 is no fault of the program."""
        with Pty(RBEE, surroundings(tmp_path / "rbee")) as screen:
            screen.wait("No workers yet.")
            os.write(screen.master, b"\xff\xe9\x00")
            screen.press("?")
            screen.wait("Moving")
            screen.press("ctrl+c")
            screen.press("q")
            assert screen.ended() == 0


class TestTheOtherPage:
    """What a shell sees when the screen stops or ends."""

    def test_nothing_is_left_there(self, tmp_path: Path):
        """The splash is taken away before the screen has a page of its own."""
        with Pty(RBEE, surroundings(tmp_path / "rbee")) as screen:
            screen.wait("No workers yet.")
            before, _, _ = bytes(screen.raw).partition(b"\x1b[?1049h")
            assert before.endswith(b"opening the screen\r\r\x1b[K")


class TestBursts:
    """A slow link brings keys together that were typed one by one."""

    @pytest.mark.parametrize(
        ("keys", "shows"),
        [("2i", "llm-worker-cpu"), ("/q", "match 'q'"), ("aqwen3", "qwen3")],
        ids=["pane", "field", "screen"],
    )
    def test_each_goes_where_the_one_before_leads(self, tmp_path: Path, hub: DemoHub, keys: str, shows: str):
        """To the pane, the field and the screen that it opens."""
        with Pty(RBEE, surroundings(tmp_path / "rbee", hub.url), 100, 30) as screen:
            screen.wait("No workers yet.")
            screen.press(keys)
            screen.wait(shows, seconds=5)


class TestColours:
    def test_none_are_wanted(self, tmp_path: Path, hub: DemoHub):
        """NO_COLOR: bold and reversed, in the terminal's own colours."""
        raw = walked(tmp_path / "rbee", hub, NO_COLOR="1")
        assert colours(raw) == set()
        assert b"\x1b[1;" in raw

    @pytest.mark.parametrize("name", ["xterm", "linux"])
    def test_sixteen(self, tmp_path: Path, hub: DemoHub, name: str):
        """Where the terminal's name promises no more, none of 256 is asked for."""
        found = colours(walked(tmp_path / "rbee", hub, TERM=name))
        assert found
        assert [each for each in found if b";" in each] == []

    def test_all_of_them(self, tmp_path: Path, hub: DemoHub):
        """The check sees others, where there are some."""
        found = colours(walked(tmp_path / "rbee", hub, COLORTERM="truecolor"))
        assert any(b"8;2;" in each for each in found)


class TestGuards:
    """Where no screen can be, a sentence says so, and what is here is printed."""

    @pytest.mark.parametrize(
        ("environment", "says"),
        [
            ({"TERM": "dumb"}, "TERM is 'dumb', a terminal on which no screen can be drawn"),
            ({"TERM": "unknown"}, "TERM is 'unknown', a terminal on which no screen can be drawn"),
            ({"TERM": ""}, "TERM is not set, a terminal on which no screen can be drawn"),
        ],
    )
    def test_a_terminal_that_cannot(self, tmp_path: Path, environment: dict[str, str], says: str):
        """One that is dumb, or says nothing of itself: not one sequence is written."""
        with Pty(RBEE, surroundings(tmp_path / "rbee", **environment)) as screen:
            assert screen.ended() == 0
            assert f"rbee: {says}" in screen.shown()
            assert "Nothing is here yet." in screen.shown()
            assert b"\x1b" not in screen.raw

    def test_no_terminal(self, tmp_path: Path):
        """The overview on standard output, the reason on standard error."""
        done = subprocess.run(
            RBEE,
            env=surroundings(tmp_path / "rbee"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0
        assert done.stdout.startswith("Nothing is here yet.")
        assert done.stderr.splitlines()[0] == "rbee: this is not a terminal, so there is no screen"

    def test_standard_output_elsewhere(self, tmp_path: Path):
        """A screen is not drawn into a file."""
        words = ["/bin/sh", "-c", f"{sys.executable} -m rbee_tui > {tmp_path}/said"]
        with Pty(words, surroundings(tmp_path / "rbee")) as screen:
            assert screen.ended() == 0
            assert "rbee: this is not a terminal" in screen.shown()
        assert (tmp_path / "said").read_text().startswith("Nothing is here yet.")

    @pytest.mark.parametrize(("columns", "rows"), [(30, 6), (39, 24), (80, 7), (3, 2)])
    def test_too_small(self, tmp_path: Path, columns: int, rows: int):
        """A sentence instead of half a picture; q still leaves."""
        with Pty(RBEE, surroundings(tmp_path / "rbee"), columns, rows) as screen:
            screen.wait("rbee needs 40x8" if columns > 16 else "r")
            assert "1 Models" not in screen.shown()
            screen.press("q")
            assert screen.ended() == 0
            assert screen.restored
