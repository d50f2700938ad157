"""Strings that came from outside, made safe to show; sizes and times as people read them."""

import re
import unicodedata
from datetime import UTC, datetime

# C0 and C1 controls drive the terminal; bidi marks and zero-width characters make one name look like another.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
_DAYS_FROM_HOURS = 100


def _visible(match: re.Match[str]) -> str:
    point = ord(match.group())
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{{{point:x}}}"  # noqa: PLR2004 - the width of \x


def clean(text: str) -> str:
    """Text from outside with every control, bidi and zero-width character made visible; idempotent."""
    return _UNSAFE.sub(_visible, text)


def fold(name: str) -> str:
    """The form under which a case-folding, normalising file system compares names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())


def size(count: int) -> str:
    """A file's size in decimal units, as `4.9 GB`."""
    return _scaled(float(count), 1000.0, ("B", "kB", "MB", "GB", "TB", "PB"))


def size_as(part: int, whole: int) -> str:
    """A part of a size in the whole's own unit and without it, as the `12.1` of `12.1/19.8 GB`."""
    unit = size(whole).partition(" ")[2]
    power = ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    return f"{part / 1000**power:.1f}" if power else str(part)


def memory(count: int) -> str:
    """An amount of memory in binary units, as `9.1 GiB`."""
    return _scaled(float(count), 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(value: float, step: float, units: tuple[str, ...]) -> str:
    unit = 0
    # 999.95 would round up to 1000.0: it belongs to the next unit.
    while unit < len(units) - 1 and round(value, 1) >= step:
        value /= step
        unit += 1
    return f"{value:.0f} {units[unit]}" if unit == 0 else f"{value:.1f} {units[unit]}"


def token_rate(per_second: float) -> str:
    """Tokens per second as `42.1` or `1,203`: six columns have what a machine can do."""
    return f"{per_second:.1f}" if round(per_second, 1) < 1000 else f"{per_second:,.0f}"  # noqa: PLR2004 - as said


def counted(count: int, noun: str) -> str:
    """As `1 file` or `1,204 files`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """A time span as `0:07`, `1:32`, `3:07:05` or `11574 days`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours >= _DAYS_FROM_HOURS:
        return f"{hours // 24} days"
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def age(stamp: str) -> float:
    """Seconds since a moment as `now()` tells it."""
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def now() -> str:
    """This moment as RFC 3339 in UTC with `Z`, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
