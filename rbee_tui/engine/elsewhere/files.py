"""GGUF files in directories, as most programs keep them; read only."""

import os
from collections.abc import Iterator
from pathlib import Path

from rbee_tui.engine.choices import RemoteFile, group, shards_missing
from rbee_tui.engine.elsewhere.found import Found, FoundFile

_DEEPEST = 5
_MOST_DIRECTORIES = 5000


def look(base: Path, program: str) -> Iterator[Found]:
    """The models beneath a directory; a projector goes with the models beside it."""
    for number, (at, directories, names) in enumerate(os.walk(base)):
        directory = Path(at)
        if number >= _MOST_DIRECTORIES:
            return
        if len(directory.relative_to(base).parts) >= _DEEPEST:
            directories.clear()
        directories.sort()
        yield from _directory(base, directory, names, program)


def _directory(base: Path, directory: Path, names: list[str], program: str) -> Iterator[Found]:
    sizes: dict[str, int] = {}
    for name in sorted(names):
        path = directory / name
        if name.lower().endswith(".gguf") and path.is_file():
            sizes[name] = path.stat().st_size
    files = [RemoteFile(path=name, size_bytes=size) for name, size in sizes.items()]
    for choice in group(files, together=directory != base) if files else []:
        if choice.format == "gguf" and choice.file and not shards_missing(choice):
            yield Found(
                id=(directory.relative_to(base) / choice.file).as_posix(),
                program=program,
                files=[
                    FoundFile(path=str(directory / file.path), name=file.target, size_bytes=file.size_bytes)
                    for file in choice.layout()
                ],
                quantization=choice.quantization,
            )
