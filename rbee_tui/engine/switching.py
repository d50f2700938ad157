"""Newer files of a model: gathered beside the old ones, and put in their place together, once verified."""

import ctypes
import errno
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from rbee_tui.engine import entries, ids, removal
from rbee_tui.engine.artifacts import Model
from rbee_tui.engine.durable import storage
from rbee_tui.engine.health import files_of
from rbee_tui.engine.jobs import PlannedFile, Record
from rbee_tui.engine.metadata import NAME
from rbee_tui.engine.paths import SHARED_MODE, Root, beneath, make_directory, sync_directory
from rbee_tui.engine.planning import already_here, same_file
from rbee_tui.engine.transfer import blocks_path

if TYPE_CHECKING:
    from rbee_tui.engine.catalog import ModelCatalog

STAGING = ".next"
_HERE = -2 if sys.platform == "darwin" else -100
"""AT_FDCWD."""
_SWAP = 2
"""RENAME_EXCHANGE of Linux, and RENAME_SWAP of macOS."""
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def staging(root: Root, model_id: str) -> Path:
    """Where the newer files of a model gather."""
    return root.models / STAGING / ids.directory(model_id)


def prepare(models: "ModelCatalog", record: Record) -> None:
    """Mend what a killed run left of a switch, and begin with what the newer files share with the old."""
    if record.staged:
        current, staged = models.directory(record.model.id), staging(models.root, record.model.id)
        recover(current, staged)
        gather(current, models.get(record.model.id).artifact, staged, record.files)


def gather(current: Path, old: Model | None, staged: Path, files: list[PlannedFile]) -> None:
    """Link what the newer files share with the old ones; where that cannot be, they are fetched again."""
    make_directory(staged, SHARED_MODE)
    for file in files:
        same = same_file(old, file)
        if same is None:
            continue
        here, there = beneath(current, same.path), beneath(staged, file.target)
        make_directory(there.parent, SHARED_MODE)
        for source, target in ((here, there), (blocks_path(here), blocks_path(there))):
            with suppress(OSError):
                os.link(source, target, follow_symlinks=False)


def is_switched(models: "ModelCatalog", record: Record) -> bool:
    """Whether the model has a record's files already: its runner was ended right after the switch."""
    entry = models.peek(record.model.id)
    if entry is None or entry.artifact is None or entry.artifact.revision != record.revision:
        return False
    return already_here(entry, record.files)


def switch(models: "ModelCatalog", model: Model, staged: Path) -> None:
    """Put the gathered files and this metadata in the place of the model's, at once for every reader.

    The caller holds the model's lock. What a worker has open of the old files stays its own until it ends.
    """
    models.change(model.id, lambda _: model, staged=staged)


def tidy(models: "ModelCatalog", model_id: str) -> None:
    """Delete the old files, which a switch put where the new ones were; what is no model's moves over."""
    old, new = staging(models.root, model_id), models.directory(model_id)
    if not old.is_dir():
        return
    with storage("clear away", old):
        found = entries.read(str(old.parent), old.name, Model).entry.artifact
        if found is not None:  # without, an earlier run was ended while it deleted
            _bring_over(old, new, {name for name, _ in files_of(found, str(old))})
        removal.delete(old)


def discard(root: Root, model_id: str) -> None:
    """Delete what has gathered for a model."""
    staged = staging(root, model_id)
    with storage("remove", staged):
        removal.delete(staged)


def _bring_over(old: Path, new: Path, files: set[str]) -> None:
    known = {NAME, f"{NAME}.broken", *files, *(str(blocks_path(Path(file))) for file in files)}
    for at, _, names in os.walk(old):
        for path in (Path(at, name) for name in names):
            within = path.relative_to(old)
            if str(within) not in known and not os.path.lexists(new / within):
                make_directory((new / within).parent, SHARED_MODE)
                path.rename(new / within)


def exchange(one: Path, other: Path) -> None:
    """Let two directories of one file system change places, durably.

    Where the system cannot do it in one step `other` is away for a moment; `recover` mends a death in it.
    """
    with storage("replace", other):
        if not _swap(one, other):
            aside = _aside(one)
            other.rename(aside)
            one.rename(other)
            aside.rename(one)
        sync_directory(other.parent)
        sync_directory(one.parent)


def _aside(staged: Path) -> Path:
    return staged.with_name(f".{staged.name}.old")


def recover(current: Path, staged: Path) -> None:
    """Mend what a death between the steps of an exchange has left."""
    aside = _aside(staged)
    if aside.is_dir():
        with storage("bring back", aside):
            aside.rename(staged if current.is_dir() else current)


def _swap(one: Path, other: Path) -> bool:
    """Whether the system let them change places in one step; raises OSError where it failed."""
    call = _rename()
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _SWAP) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


class _Rename(Protocol):
    def __call__(self, at: int, one: bytes, to: int, other: bytes, flags: int, /) -> int: ...


@cache
def _rename() -> _Rename | None:
    """renameat2(2) of Linux or renameatx_np(2) of macOS; None where the C library has neither."""
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    return cast("_Rename", function)
