"""Facts: one line for each change in `state/facts.jsonl`, read by every process on the same root."""

import os
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine.durable import append_line
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import now

MAX_LINE_BYTES = 4000
ROTATE_BYTES = 1 << 20


class Fact(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that happened: `kind` as `model.added`, `job.done`, `worker.ready`."""

    kind: str
    id: str
    """The artifact, job or worker process that it is about."""
    at: str
    pid: int
    text: str = ""
    """One sentence for a person."""
    data: dict[str, Any] = {}


class Facts:
    """The writing and the reading end of a root's facts; a reader starts at the end of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._offset = 0
        found = _stat(path)
        if found is not None:
            self._inode, self._offset = found.st_ino, found.st_size

    def tell(self, kind: str, id: str, text: str = "", **data: Any) -> Fact:
        """Append a fact; to be called after the rename that it tells of."""
        fact = Fact(kind=kind, id=id, at=now(), pid=os.getpid(), text=text, data=data)
        line = msgspec.json.encode(fact)
        if len(line) > MAX_LINE_BYTES:
            fact = Fact(kind=kind, id=id[:500], at=fact.at, pid=fact.pid, text=text[:500])
            line = msgspec.json.encode(fact)
        append_line(self.path, line)
        return fact

    def read_new(self) -> list[Fact]:
        """The facts told since the last call, in order; one stat when there are none."""
        found = _stat(self.path)
        if found is None or (found.st_ino == self._inode and found.st_size == self._offset):
            return []
        lines: list[Fact] = []
        if found.st_ino != self._inode:
            lines += self._read(self.rotated, self._offset) if self._inode else []
            self._inode, self._offset = found.st_ino, 0
        return lines + self._read(self.path, self._offset, follow=True)

    @property
    def rotated(self) -> Path:
        """Where the older facts lie after a rotation."""
        return self.path.with_name("facts.1.jsonl")

    def rotate(self) -> None:
        """Start a new file once this one is large; the caller holds `records.lock`."""
        found = _stat(self.path)
        if found is not None and found.st_size > ROTATE_BYTES:
            self.path.replace(self.rotated)

    def _read(self, path: Path, offset: int, *, follow: bool = False) -> list[Fact]:
        try:
            with path.open("rb") as file:
                if path == self.rotated and os.fstat(file.fileno()).st_ino != self._inode:
                    offset = 0
                file.seek(offset)
                raw = file.read()
        except OSError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]
        if follow:
            self._offset = offset + len(whole)
        return [fact for line in whole.splitlines() if (fact := _decode(line)) is not None]


def _decode(line: bytes) -> Fact | None:
    try:
        return msgspec.json.decode(line, type=Fact)
    except UNDECODABLE:
        return None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
