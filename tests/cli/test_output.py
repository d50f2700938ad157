"""What is printed: aligned, cleaned, coloured only where somebody sees colours."""

import io
import json

import pytest

from rbee_tui.cli import output
from rbee_tui.cli.output import Column


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


class TestTables:
    def test_columns_are_aligned(self, capsys: pytest.CaptureFixture[str]):
        """Numbers to the right under their title, words to the left, no spaces at the ends."""
        output.print_table(
            (Column("SIZE", right=True), Column("ID")), [("4.9 GB", "a"), ("10 B", "long name")]
        )
        assert capsys.readouterr().out == "  SIZE  ID\n4.9 GB  a\n  10 B  long name\n"

    def test_cells_are_cleaned(self, capsys: pytest.CaptureFixture[str]):
        """Controls, bidi marks and line breaks of a name stand there, and do nothing."""
        output.print_table((Column("ID"),), [("a\x1b]0;gone\x07\u202eb\nc",)])
        assert capsys.readouterr().out == "ID\na\\x1b]0;gone\\x07\\u{202e}b\\x0ac\n"

    def test_an_empty_table_is_its_titles(self, capsys: pytest.CaptureFixture[str]):
        """It does not fail."""
        output.print_table((Column("A"), Column("B")), [])
        assert capsys.readouterr().out == "A  B\n"

    def test_colours_do_not_move_columns(self, monkeypatch: pytest.MonkeyPatch):
        """A painted cell is as wide as it looks."""
        monkeypatch.setenv("TERM", "xterm")
        screen = Screen()
        monkeypatch.setattr("sys.stdout", screen)
        output.print_table((Column("HEALTH", paint=output.health), Column("ID")), [("ok", "a")])
        assert "\x1b[32mok\x1b[0m      a" in screen.getvalue()


class TestColours:
    @pytest.mark.parametrize(
        ("stream", "term", "no_colour", "shown"),
        [
            (Screen(), "xterm", "", True),
            (Screen(), "xterm", "1", False),
            (Screen(), "dumb", "", False),
            (io.StringIO(), "xterm", "", False),
        ],
    )
    def test_colours_need_a_terminal_that_wants_them(
        self, stream: io.StringIO, term: str, no_colour: str, shown: bool, monkeypatch: pytest.MonkeyPatch
    ):
        """NO_COLOR, a dumb terminal and a pipe get plain text."""
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("NO_COLOR", no_colour)
        assert ("\x1b" in output.paint("word", "red", stream)) is shown


class TestGlyphs:
    @pytest.mark.parametrize(
        ("environment", "fancy"),
        [
            ({"LANG": "C.UTF-8"}, True),
            ({"LANG": "de_DE.utf8"}, True),
            ({"LANG": "C"}, False),
            ({}, False),
            ({"LC_CTYPE": "C.UTF-8"}, False),
            ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
            ({"LC_CTYPE": "UTF-8"}, True),
            ({"LC_ALL": "C", "LANG": "C.UTF-8"}, False),
        ],
    )
    def test_ascii_unless_the_locale_says_utf_8(
        self, environment: dict[str, str], fancy: bool, monkeypatch: pytest.MonkeyPatch
    ):
        """LC_CTYPE=C.UTF-8 is what Python itself makes of the C locale."""
        for name in ("LC_ALL", "LC_CTYPE", "LANG"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        output.fancy.cache_clear()
        assert output.fancy() is fancy
        assert output.glyph("✓", "ok") == ("✓" if fancy else "ok")
        output.fancy.cache_clear()


class TestJson:
    def test_it_is_the_same_data_and_drives_no_terminal(self, capsys: pytest.CaptureFixture[str]):
        """What JSON leaves raw and terminals obey stands escaped, and reads back as it was."""
        value = {"id": "a\x1b\x7f\x9b31m\u202e\u200b\U000e0041ü", "size_bytes": 5}
        output.print_json(value)
        text = capsys.readouterr().out
        assert json.loads(text) == value
        assert not set(text) & set("\x1b\x7f\x9b\u202e\u200b\U000e0041")
        assert "ü" in text

    def test_a_short_result_is_indented(self, capsys: pytest.CaptureFixture[str]):
        """Somebody may read it."""
        output.print_json([{"id": "a"}])
        assert capsys.readouterr().out == '[\n  {\n    "id": "a"\n  }\n]\n'

    def test_a_long_listing_is_one_line(self, capsys: pytest.CaptureFixture[str]):
        """A program reads it, and nobody waits for spaces; what went before it stays before it."""
        value = [{"id": f"model-{number}", "size_bytes": number} for number in range(40_000)]
        output.result("first")
        output.print_json(value)
        first, text = capsys.readouterr().out.removesuffix("\n").split("\n")
        assert first == "first"
        assert json.loads(text) == value

    def test_a_long_listing_is_indented_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch):
        """There somebody reads it all the same."""
        raw = io.BytesIO()
        screen = io.TextIOWrapper(raw, encoding="utf-8")
        monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdout", screen)
        output.print_json(["x" * (1 << 20)])
        assert raw.getvalue().startswith(b'[\n  "x')
