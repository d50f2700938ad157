"""Time spans as people write them."""

import re

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> int:
    """Whole seconds, from words as `90s`, `30m`, `2h` or `never`, which is 0; raises UsageError."""
    said = text.strip().lower()
    if said in ("never", "off", "none"):
        return 0
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d)?", said)
    if match is None:
        raise UsageError(f"{clean(text)[:40]!r} is not a time", hint="as in 90s, 30m, 2h or never")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def span(seconds: int) -> str:
    """Whole seconds in the words that `seconds_of` reads: `30m`, `90s`, `never`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s" if seconds else "never"
