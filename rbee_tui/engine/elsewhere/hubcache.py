"""The Hub's own cache, as its library lays it out; read only, and without the library."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rbee_tui.engine.choices import Choice, RemoteFile, group, shards_missing
from rbee_tui.engine.elsewhere.found import Found, FoundFile
from rbee_tui.engine.repository import MAIN

_REPO_PREFIX = "models--"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_FILES = 10_000
_SMALL_REF = 200


def look(base: Path, program: str) -> Iterator[Found]:
    """The models of a cache; those whose shards are not all there are left out."""
    for repo_path in _children(base):
        if repo_path.name.startswith(_REPO_PREFIX) and repo_path.is_dir():
            yield from _repository(repo_path, program)


def _repository(path: Path, program: str) -> Iterator[Found]:
    repo = _repo_of(path)
    names = refs(path)
    seen: set[tuple[str, ...]] = set()

    def rank(snapshot: Path) -> tuple[bool, bool, str]:
        """What `main` stands for, then other branches, then commits that were only pinned."""
        return names.get(snapshot.name) != MAIN, snapshot.name not in names, snapshot.name

    for snapshot in sorted(_children(path / "snapshots"), key=rank):
        if _COMMIT.fullmatch(snapshot.name) is None:
            continue
        files = _snapshot(snapshot)
        for choice in group(list(files.values())):
            paths = [str(snapshot / file.path) for file in choice.files]
            blobs = tuple(os.path.realpath(each) for each in paths)
            if choice.format == "other" or shards_missing(choice) or blobs in seen:
                continue
            seen.add(blobs)
            yield _found(repo, snapshot, choice, names.get(snapshot.name), program)


def _found(repo: str, snapshot: Path, choice: Choice, revision: str | None, program: str) -> Found:
    return Found(
        id=repo + (f":{choice.file}" if choice.file else ""),
        program=program,
        files=[
            FoundFile(
                path=str(snapshot / planned.path),
                name=planned.target,
                size_bytes=planned.size_bytes,
                sha256=planned.sha256,
            )
            for planned in choice.layout()
        ],
        format=choice.format,
        quantization=choice.quantization,
        repo=repo,
        commit=snapshot.name,
        revision=revision,
        source_path=choice.file,
    )


def _snapshot(path: Path) -> dict[str, RemoteFile]:
    """The files of a snapshot by their path in the repository; a link to a blob that is gone is none."""
    found: dict[str, RemoteFile] = {}
    for at, _, names in os.walk(path):
        for name in names:
            file = Path(at, name)
            within = file.relative_to(path).as_posix()
            try:
                size = file.stat().st_size
            except OSError:
                continue
            found[within] = RemoteFile(path=within, size_bytes=size, sha256=_named_after(file))
        if len(found) > _MOST_FILES:
            break
    return found


def refs(repo_path: Path) -> dict[str, str]:
    """The branch or tag of each commit that one stands for; `main` before others."""
    named: dict[str, str] = {}
    base = repo_path / "refs"
    for at, _, names in os.walk(base):
        for name in sorted(names):
            path = Path(at, name)
            try:
                commit = path.read_bytes()[:_SMALL_REF].decode().strip()
            except (OSError, UnicodeDecodeError):
                continue
            revision = path.relative_to(base).as_posix()
            if revision == MAIN or commit not in named:
                named[commit] = revision
    return named


class InCache(NamedTuple):
    """What the place of a file in a snapshot says of it."""

    cache: Path
    """The repository's directory in the cache."""
    repo: str
    commit: str
    file: str
    """Its path in the repository."""


def place(path: Path) -> InCache | None:
    """What the place of a file says; None for one that lies in no snapshot. Looks at no disk."""
    parts = path.absolute().parts
    for at in range(len(parts) - 3, 0, -1):
        if (
            parts[at] == "snapshots"
            and parts[at - 1].startswith(_REPO_PREFIX)
            and _COMMIT.fullmatch(parts[at + 1])
        ):
            cache = Path(*parts[:at])
            return InCache(cache, _repo_of(cache), parts[at + 1], "/".join(parts[at + 2 :]))
    return None


def promised_hash(path: Path) -> str | None:
    """The sha256 that a file in a snapshot is named after; None where its place promises none."""
    return _named_after(path) if place(path) else None


def _named_after(path: Path) -> str | None:
    blob = os.path.basename(os.path.realpath(path))  # noqa: PTH119 - as short as it gets
    return blob if _SHA256.fullmatch(blob) else None


def _repo_of(cache: Path) -> str:
    return cache.name.removeprefix(_REPO_PREFIX).replace("--", "/", 1)


def blobs(base: Path, sha256: str) -> Iterator[Path]:
    """The blobs of a cache that are named by this hash."""
    for repo_path in _children(base):
        if repo_path.name.startswith(_REPO_PREFIX):
            blob = repo_path / "blobs" / sha256
            if blob.is_file():
                yield blob


def _children(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError:
        return []
