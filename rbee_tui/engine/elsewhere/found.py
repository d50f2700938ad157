"""What another program has: a model with its files, as far as their names and places tell. All data."""

import os
from pathlib import Path

import msgspec


class FoundFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of another program's."""

    path: str
    """Where it lies, absolute; it may be a link of that program's."""
    name: str
    """What it is called here, with `/`; relative to the model's directory."""
    size_bytes: int
    sha256: str | None = None
    """As the other program says; nobody has compared it yet."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A model of another program's; sizes in bytes."""

    id: str
    """How it is named in a listing: `owner/name:file`, `llama3.2:latest`, or its path."""
    program: str
    files: list[FoundFile]
    format: str = "gguf"
    quantization: str | None = None
    repo: str | None = None
    """The repository that it came from, where its place says so."""
    commit: str | None = None
    revision: str | None = None
    """The branch or tag that stood for the commit."""
    source_path: str | None = None
    """The first file's path in the repository."""
    here: str | None = None
    """The model of this catalog that has the same bytes."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def path(self) -> str:
        """Where its first file lies."""
        return self.files[0].path


def is_under(path: str, directory: Path) -> bool:
    """Whether a path lies in a directory, links resolved."""
    real, base = os.path.realpath(path), os.path.realpath(directory)
    return real == base or real.startswith(base + os.sep)
