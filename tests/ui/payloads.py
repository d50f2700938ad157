"""Strings that somebody could put into a name, an error or an answer to take the terminal over."""

import re

RAW = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What no terminal may be sent as text."""

CLICK = "[@click=app.quit]x[/]"
RED = "[red on blue]loud[/]"
UNBALANCED = "[/nothing] [[ ]] [bold"
PAYLOADS = (
    "\x1b[31mred\x1b[0m",
    "\x1b]52;c;cHduZWQ=\x07",
    "\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "\x1bP+q544e\x1b\\",
    "\x1b[6n\x1b[c",
    "\x9b31mC1\x9b0m",
    "\x9d52;c;cHduZWQ=\x9c",
    "two\nlines\r\nand\ttabs\x0b\x0c",
    "\x00\x07\x08\x7f",
    "\u202eDESREVER\u202c",
    "\u2066isolated\u2069",
    "zero\u200bwidth\u2060\ufeff\u00ad",
    "\U000e0041tags\U000e007f",
    CLICK,
    RED,
    UNBALANCED,
    "\U0001f469\u200d\U0001f4bb emoji \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "漢字" * 20,
    "e\u0301" * 40,
    "x" * 300,
    "y" * 150 + "  " + "hanging label " * 10,
)
