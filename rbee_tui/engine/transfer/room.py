"""Room on the disk, taken before the first byte arrives."""

import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from rbee_tui.engine import durable
from rbee_tui.engine.errors import NoSpaceError
from rbee_tui.engine.text import clean, size

_ASIDE = 1 << 20  # for the journal and the block digests
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def reserve(handle: int, path: Path, wanted: int) -> None:
    """Give the open file `wanted` bytes of room; raises NoSpaceError with the figures when there is none.

    What a refused reservation had grabbed is given back.
    """
    with durable.storage("make room for", path):
        before = os.fstat(handle)
        # st_blocks counts 512 bytes, whatever the file system's own block is.
        missing = wanted - before.st_blocks * 512
        if missing > 0 and missing + _ASIDE > _free(handle):
            raise _no_space(handle, path, missing)
        if before.st_size > wanted:
            os.ftruncate(handle, wanted)
        if missing <= 0 and before.st_size >= wanted:
            return
        try:
            _allocate(handle, wanted)
        except OSError as error:
            os.ftruncate(handle, min(before.st_size, wanted))
            if error.errno in _FULL:
                raise _no_space(handle, path, missing) from error
            raise


def _free(handle: int) -> int:
    found = os.fstatvfs(handle)
    return found.f_bavail * found.f_frsize


def _no_space(handle: int, path: Path, missing: int) -> NoSpaceError:
    return NoSpaceError(
        f"no room in {clean(str(path.parent))}: {size(missing)} more are needed, "
        f"{size(_free(handle))} are free",
        hint="make room, or set RBEE_HOME to another disk",
    )


def _allocate(handle: int, wanted: int) -> None:
    """fallocate(2) where it exists; else a file with holes, as glibc's imitation would write every block."""
    call = _fallocate()
    if call is None or wanted == 0:
        os.ftruncate(handle, wanted)
        return
    while call(handle, 0, 0, wanted) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            os.ftruncate(handle, wanted)
            return
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


class _Fallocate(Protocol):
    def __call__(self, handle: int, mode: int, offset: int, length: int, /) -> int: ...


@cache
def _fallocate() -> _Fallocate | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    # fallocate64 takes 64-bit offsets on 32-bit machines too; musl has only fallocate.
    for name in ("fallocate64", "fallocate"):
        function = getattr(library, name, None)
        if function is not None:
            wide = ctypes.c_int64 if name == "fallocate64" else ctypes.c_long
            function.argtypes = [ctypes.c_int, ctypes.c_int, wide, wide]
            function.restype = ctypes.c_int
            return cast("_Fallocate", function)
    return None
