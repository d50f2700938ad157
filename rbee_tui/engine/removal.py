"""Removing an artifact: gone at once for every reader, then its bytes are given back; no link is followed."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from rbee_tui.engine.durable import storage
from rbee_tui.engine.paths import SHARED_MODE, make_directory, sync_directory

TRASH = ".trash"


class Tree(NamedTuple):
    """What is beneath one or more paths; our own bookkeeping, a few kB, is in `held` alone."""

    files: int
    freed: int
    """Bytes that removing all of it gives back: a file with a name outside keeps its own."""
    shared: int
    """Bytes of those files, which stay."""
    held: dict[tuple[int, int], int]
    """Bytes on the disk of each file, by device and inode."""


def weigh(*paths: Path) -> Tree:
    """Look at trees, each file once; no link is followed."""
    files = 0
    held: dict[tuple[int, int], int] = {}
    links: dict[tuple[int, int], list[int]] = {}
    for status, ours in chain.from_iterable(map(_files, paths)):
        key = (status.st_dev, status.st_ino)
        held[key] = status.st_blocks * 512  # st_blocks counts 512 bytes on every file system
        if not ours:
            files += 1
            seen = links.setdefault(key, [0, status.st_nlink, min(status.st_size, held[key])])
            seen[0] += 1
    freed = sum(size for here, everywhere, size in links.values() if here >= everywhere)
    shared = sum(size for here, everywhere, size in links.values() if here < everywhere)
    return Tree(files, freed, shared, held)


def _files(path: Path) -> Iterator[tuple[os.stat_result, bool]]:
    """Each regular file of a tree, and whether it is our bookkeeping; `path` may be a file or a link."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        if stat.S_ISREG(status.st_mode):
            yield status, False
        return
    for at, _, names, handle in os.fwalk(path, follow_symlinks=False):
        top = Path(at) == path
        for name in names:
            try:
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except FileNotFoundError:  # removed just now
                continue
            if stat.S_ISREG(status.st_mode):
                yield status, name.startswith(".") or (top and name == "metadata.json")


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
