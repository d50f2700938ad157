"""A repository's card as plain text: no front matter, markup or pictures, nothing of it obeyed. Pure."""

import re

from rbee_tui.engine.text import clean

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_DROPPED = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,2000}>")
_PICTURE = re.compile(r"!\[[^\]\n]{0,500}\]\([^)\n]{0,2000}\)")
_LINK = re.compile(r"\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)")
_MARKS = re.compile(r"(\*\*|__|`)(.+?)\1")
_FENCE = re.compile(r"\s*(```|~~~)")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_RULE = re.compile(r"\s*([-*_=]\s*){3,}$")
_MOST_BYTES = 1 << 18


def lines(card: str) -> list[str]:
    """The card's text line by line; fenced code stays as it is, runs of empty lines become one."""
    text = _FRONT.sub("", card[:_MOST_BYTES], count=1)
    for away in (_COMMENT, _DROPPED):
        text = away.sub("", text)
    found: list[str] = []
    fenced = False
    for raw in text.splitlines():
        if _FENCE.match(raw):
            fenced = not fenced
            continue
        line = raw.rstrip() if fenced else _plain(raw)
        if line is None or (not line and (not found or not found[-1])):
            continue
        found.append(clean(line.expandtabs(4)))
    while found and not found[-1]:
        found.pop()
    return found


def _plain(raw: str) -> str | None:
    """A line without its markup; None for one that was nothing else."""
    if _RULE.match(raw) and raw.strip():
        return None
    line = _TAG.sub("", _LINK.sub(r"\1", _PICTURE.sub("", raw)))
    line = _HEADING.sub("", _MARKS.sub(r"\2", line)).rstrip()
    return None if raw.strip() and not line.strip(" |") else line


def summary(card: str, most: int = 400) -> str:
    """The first sentences that say what it is: the first paragraph that is more than a title."""
    paragraph: list[str] = []
    for line in [*lines(card), ""]:
        if line and not line.lstrip().startswith(("|", "-", "*", ">")):
            paragraph.append(line.strip())
        elif len(text := " ".join(paragraph)) > _TITLE:
            return text if len(text) <= most else text[: most - 3].rstrip() + "..."
        else:
            paragraph = []
    return ""


_TITLE = 60
"""A paragraph that is no longer is a title, or a row of badges."""
