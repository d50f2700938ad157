"""What Linux tells of a directory to who asks once (inotify): where nothing is told one need not look.

Two functions of the C library; the small packages that wrap them start other programs to find it.
"""

import ctypes
import errno
import os
import stat
import sys
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

# Of <sys/inotify.h>: modify, attrib, close_write, moved_from, moved_to, create, delete.
_EVENTS = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200
_DIRECTORIES_ONLY, _NO_LINKS = 0x01000000, 0x02000000
# Of <linux/magic.h>, where no other machine writes: ext4, xfs, btrfs, f2fs, bcachefs, zfs, tmpfs, overlayfs.
_LOCAL = {0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0xCA451A4E, 0x2FC12FC1, 0x01021994, 0x794C7630}
_MOST = Path("/proc/sys/fs/inotify/max_user_watches")
_SHARE = 4
"""One in so many of the watches that a user may have: other programs need some, too."""
_READ_BYTES = 1 << 16


class Notices:
    """Listens to one directory, and to those in it that were named; closed when nobody refers to it any more.

    Raises OSError wherever not all that happens would be told: on another system or one that refuses, on a
    file system that other machines write to as well, for a name that leads elsewhere.
    """

    def __init__(self, base: str) -> None:
        if sys.platform != "linux" or _file_system(base) not in _LOCAL:
            raise OSError(errno.ENOTSUP, "the system does not tell of all that happens there", base)
        self._base = base
        self._place = _place(base)
        self._handle = _call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        self._watch(base)

    def quiet(self) -> bool:
        """Whether it is certain that nothing happened since the last call."""
        return not self._heard() and _place(self._base) == self._place

    def attend(self, name: str) -> None:
        """Listen to a directory, too; of files the one that they lie in tells."""
        path = f"{self._base}/{name}"
        with suppress(FileNotFoundError):  # told already
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode):
                return
            if found.st_dev != self._place[0]:
                raise OSError(errno.EXDEV, "another file system", path)
            self._watch(path)

    def _watch(self, path: str) -> None:
        _call("inotify_add_watch", self._handle, os.fsencode(path), _EVENTS | _DIRECTORIES_ONLY | _NO_LINKS)

    def _heard(self) -> bool:
        heard = False
        with suppress(BlockingIOError):
            while os.read(self._handle, _READ_BYTES):
                heard = True
        return heard


def affordable(names: int) -> bool:
    """Whether so many directories are a modest share of what the system lets a user listen to."""
    try:
        return names * _SHARE <= int(_MOST.read_text())
    except (OSError, ValueError):
        return False


def _place(path: str) -> tuple[int, int]:
    """The device and inode of a directory, which are another's once it was replaced."""
    found = Path(path).stat()
    return found.st_dev, found.st_ino


def _file_system(path: str) -> int:
    """The kind of file system, as statfs(2) numbers it in its first field."""
    found = (ctypes.c_long * 64)()
    _call("statfs", os.fsencode(path), found)
    return found[0] & 0xFFFFFFFF


def _call(function: str, *values: Any) -> int:
    """Call a function of the C library that is -1 on errors; raises OSError."""
    found = getattr(_library(), function)(*values)
    if found == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
