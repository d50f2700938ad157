"""What the command prints: results on standard output, everything else on standard error."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TextIO

from rbee_tui.engine.text import clean

Paint = Callable[[str], str]

# What JSON leaves as it is and a terminal may obey: DEL, C1 controls, bidi marks and zero-width characters.
_UNSAFE = re.compile(
    r"[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
_READABLE_BYTES = 1 << 20
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}


@dataclass(frozen=True)
class Column:
    """A column of a table; text that came from outside belongs into the last one."""

    title: str
    right: bool = False
    paint: Paint | None = None


def print_json(value: Any) -> None:
    """Print a result as JSON; what a terminal would obey stands escaped, which JSON reads as the same."""
    import msgspec  # noqa: PLC0415 - a verb that prints text does not pay for it

    raw = msgspec.json.encode(value)
    # A megabyte goes to a program: to indent it and to write it as text would be a tenth of a long listing.
    if len(raw) <= _READABLE_BYTES or sys.stdout.isatty():
        raw = msgspec.json.format(raw, indent=2)
    if raw.isascii() and b"\x7f" not in raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.write(b"\n")
    else:
        sys.stdout.write(_UNSAFE.sub(_escaped, raw.decode()) + "\n")


def _escaped(match: re.Match[str]) -> str:
    point = ord(match.group())
    if point <= 0xFFFF:  # noqa: PLR2004 - the last point that JSON escapes as one unit
        return f"\\u{point:04x}"
    high, low = divmod(point - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns under their titles; cells are cleaned here."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [
        max(len(column.title), *(len(row[at]) for row in cells)) if cells else len(column.title)
        for at, column in enumerate(columns)
    ]
    titles = [_fit(column, width, column.title) for column, width in zip(columns, widths, strict=True)]
    lines = [paint("  ".join(titles).rstrip(), "dim")]
    for row in cells:
        fitted = [_cell(*each) for each in zip(columns, widths, row, strict=True)]
        lines.append("  ".join(fitted).rstrip())
    sys.stdout.write("\n".join(lines) + "\n")


def _cell(column: Column, width: int, text: str) -> str:
    fitted = _fit(column, width, text)
    return fitted.replace(text, column.paint(text), 1) if column.paint and text else fitted


def _fit(column: Column, width: int, text: str) -> str:
    return text.rjust(width) if column.right else text.ljust(width)


def print_fields(fields: Mapping[str, str]) -> None:
    """Print one thing as `name  value` lines; empty values are left out."""
    shown = {name: value for name, value in fields.items() if value}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        sys.stdout.write(f"{paint(name.rjust(width), 'dim')}  {clean(value)}\n")


def result(text: str) -> None:
    """Print a result as one line."""
    sys.stdout.write(text + "\n")


def note(text: str = "") -> None:
    """Say something that is not a result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Text in a colour where the stream is a terminal that shows colours, else as it is."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if coloured(stream or sys.stdout) else text


def coloured(stream: TextIO) -> bool:
    """Whether colours may be written to this stream: a terminal, no NO_COLOR, not dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", None)


def live() -> bool:
    """Whether standard error is a terminal on which lines can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown", None)


@cache
def fancy() -> bool:
    """Whether the user's locale is a UTF-8 one; LC_CTYPE=C.UTF-8 says nothing, Python itself sets that."""
    ctype = os.environ.get("LC_CTYPE", "")
    named = "" if ctype == "C.UTF-8" else ctype
    locale = os.environ.get("LC_ALL") or named or os.environ.get("LANG", "")
    return "utf-8" in locale.lower() or "utf8" in locale.lower()


def glyph(shown: str, plain: str) -> str:
    """The first under a UTF-8 locale, else the second, which is plain ASCII."""
    return shown if fancy() else plain


def health(word: str) -> str:
    """An artifact's health or a state in its colour; the word itself says it, too."""
    if word in ("ok", "ready", "done", "yes"):
        return paint(word, "green")
    if word in ("broken", "damaged", "failed", "unhealthy", "not responding"):
        return paint(word, "red")
    return paint(word, "yellow")
