"""How much free memory the C library keeps: little, as the screen stays open for days beside large models."""

import ctypes
from contextlib import suppress

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ARENAS = 2
_LARGE_BYTES = 64 << 10


def return_what_is_free() -> None:
    """Share two arenas among all threads, and give large blocks back at once; glibc alone has these settings.

    By itself it lets each of some forty threads keep what it once had: several MB while downloads run.
    """
    with suppress(OSError, AttributeError):  # musl and macOS have no such function
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, _ARENAS)
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES)
