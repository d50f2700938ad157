"""Removing an artifact: gone at once for every reader, then its bytes are given back; no link is followed."""

import os
import secrets
import shutil
import stat
from itertools import chain
from pathlib import Path

from rbee_tui.engine.durable import storage
from rbee_tui.engine.paths import SHARED_MODE, make_directory, sync_directory

TRASH = ".trash"


def weigh(*paths: Path) -> tuple[int, int]:
    """How many files these trees have together, and the bytes that removing all of them gives back.

    A file with a name outside them keeps its bytes. Our own bookkeeping, a few kB, is not counted.
    """
    files = 0
    links: dict[tuple[int, int], list[int]] = {}
    for status in chain.from_iterable(map(_files, paths)):
        files += 1
        held = min(status.st_size, status.st_blocks * 512)  # st_blocks counts 512 bytes on every file system
        seen = links.setdefault((status.st_dev, status.st_ino), [0, status.st_nlink, held])
        seen[0] += 1
    return files, sum(held for here, everywhere, held in links.values() if here >= everywhere)


def _files(path: Path) -> list[os.stat_result]:
    """Each regular file of a tree but our bookkeeping; `path` itself may be a file or a link."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return [status] if stat.S_ISREG(status.st_mode) else []
    found: list[os.stat_result] = []
    for at, _, names, handle in os.fwalk(path, follow_symlinks=False):
        top = Path(at) == path
        for name in names:
            if name.startswith(".") or (top and name == "metadata.json"):
                continue
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append(status)
    return found


def take_away(path: Path, catalog: Path | None = None) -> Path:
    """Rename an artifact out of its catalog, durably; the returned path is to be given to `discard()`.

    `catalog` is the directory that it lies in; it has to be named for a part of an artifact.
    """
    trash = make_directory((catalog or path.parent) / TRASH, SHARED_MODE)
    target = trash / secrets.token_hex(8)
    with storage("remove", path):
        path.rename(target)
        sync_directory(path.parent)
    return target


def discard(taken: Path) -> None:
    """Delete what was taken away, and what a killed process left in the trash before."""
    for path in {taken, *taken.parent.iterdir()}:
        with storage("remove", path):
            delete(path)


def delete(path: Path) -> None:
    """Delete a tree, a file or a link; another process may be at the same one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if path.is_dir():
        # What stands here still could not be deleted: this time with the reason.
        shutil.rmtree(path)
