"""The characters that the screen draws with: Unicode's, or plain ASCII for a locale without UTF-8."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Glyphs:
    """One set of characters; every one is a single cell wide."""

    ok: str
    wrong: str
    busy: str
    paused: str
    more: str
    """Stands for text that is cut off."""
    bar: str
    bar_end: str
    """Half a cell of a bar."""
    bar_rest: str
    steps: str
    """Eight heights of a meter, the lowest first."""
    frame: str
    """Top left, horizontal, top right, vertical, bottom left, bottom right."""
    dash: str
    newer: str
    """Something better is to be had."""
    branch: str
    """Before a file of a download."""
    marked: str
    """Before a line that is marked."""
    marked_cursor: str
    """The same, and the cursor is on it."""


UNICODE: Final = Glyphs(
    ok="✓",
    wrong="✗",
    busy="●",
    paused="‖",
    more="…",
    bar="━",
    bar_end="╸",
    bar_rest="─",
    steps="▁▂▃▄▅▆▇█",
    frame="╭─╮│╰╯",
    dash="·",
    newer="↑",
    branch="└",
    marked="◆",
    marked_cursor="◈",
)

ASCII: Final = Glyphs(
    ok="+",
    wrong="x",
    busy="*",
    paused="=",
    more="~",
    bar="#",
    bar_end="#",
    bar_rest="-",
    steps="_..--==#",
    frame="+-+|++",
    dash="-",
    newer="^",
    branch="`",
    marked="#",
    marked_cursor="&",
)


def plain(text: str) -> str:
    """Text in ASCII, cell for cell: our own glyphs by their twins, every other character as `?`."""
    return text if text.isascii() else "".join(map(_plain_character, text))


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if twin := _TWINS.get(character):
        return twin
    from rich.cells import cell_len  # noqa: PLC0415 - only a locale without UTF-8 pays

    return "?" * cell_len(character)


_TWINS: Final = {
    theirs: ours
    for field in (
        "ok",
        "wrong",
        "busy",
        "paused",
        "more",
        "bar",
        "bar_end",
        "bar_rest",
        "steps",
        "frame",
        "dash",
        "newer",
        "branch",
        "marked",
        "marked_cursor",
    )
    for theirs, ours in zip(getattr(UNICODE, field), getattr(ASCII, field), strict=True)
} | {"°": "'", "╴": "-", "▎": "|", "─": "-", "│": "|", "é": "e", "ü": "u", "ö": "o", "ä": "a"}
