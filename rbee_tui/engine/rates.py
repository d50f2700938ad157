"""A rate as people write it, and the least that downloads may be held to."""

import re

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean

LEAST = 1000
"""Bytes per second below which a download would never end."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def rate_of(text: str) -> int | None:
    """Bytes per second, from words as `20MB/s`, `500k` or `off`; raises UsageError, also for too few."""
    if text.lower() in ("off", "none"):
        return None
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmg]i?)?(?:b(?:/s)?)?", text.strip().lower())
    if match is None:
        raise UsageError(f"{clean(text)[:40]!r} is not a rate", hint="as in 20MB/s, 500kB/s or off")
    return checked(int(float(match[1]) * _UNITS[match[2] or ""]))


def checked(bytes_per_second: int) -> int:
    """The rate itself; raises UsageError for less than `LEAST`."""
    if bytes_per_second < LEAST:
        raise UsageError(
            f"a cap of {bytes_per_second} bytes per second would never end", hint="1kB/s is the least"
        )
    return bytes_per_second
