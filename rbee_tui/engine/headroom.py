"""Whether a disk is about to be full. Pure."""

from rbee_tui.engine.text import size

_LEAST_FREE = 5_000_000_000
_LEAST_SHARE = 20
"""A disk is low below a twentieth of it, or below `_LEAST_FREE` bytes where that is less."""


def warning(free: int, total: int, promised: int) -> str:
    """In a sentence that the disk will be full, or nearly; empty where there is room. Pure."""
    left = free - promised
    if left < 0:
        return f"downloads need {size(-left)} more than the {size(free)} that are free"
    if left < _low(total):
        beside = f" once downloads have their {size(promised)}" if promised else ""
        return f"only {size(left)} are free{beside}"
    return ""


def _low(total: int) -> int:
    """Bytes below which a disk of so many counts as nearly full."""
    return min(_LEAST_FREE, total // _LEAST_SHARE)
