"""What the Hub's library tells of repositories and files, as our own structs. Pure."""

import re
from collections.abc import Sequence
from typing import Any

from rbee_tui.engine.choices import RemoteFile
from rbee_tui.engine.repository import RepoSummary

SHA256 = re.compile(r"[0-9a-f]{64}")
BLOB = re.compile(r"[0-9a-f]{40}")


def summary(model: Any) -> RepoSummary:
    """A result of a search."""
    updated = getattr(model, "last_modified", None) or getattr(model, "created_at", None)
    return RepoSummary(
        id=model.id,
        downloads=model.downloads or 0,
        likes=model.likes or 0,
        updated_at=stamp(updated),
        gated=bool(model.gated),
        license=tagged_license(model.tags or []),
        tags=list(model.tags or []),
        task=model.pipeline_tag,
    )


def stamp(moment: Any) -> str | None:
    """A moment as RFC 3339 in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def tagged_license(tags: Sequence[str]) -> str | None:
    """The licence among a repository's tags."""
    return next((tag[8:] for tag in tags if tag.startswith("license:")), None)


def file(found: Any, name: str = "rfilename") -> RemoteFile:
    """A file of the info's siblings or of the tree."""
    large = getattr(found, "lfs", None)
    sha256 = (getattr(large, "sha256", None) or "").lower() if large else ""
    size = (getattr(large, "size", None) if large else None) or getattr(found, "size", None)
    blob = (getattr(found, "blob_id", None) or "").lower()
    return RemoteFile(
        path=getattr(found, name),
        size_bytes=size if isinstance(size, int) and size >= 0 else None,
        sha256=sha256 if SHA256.fullmatch(sha256) else None,
        # A large file's blob id is that of its pointer: it says nothing of the content.
        blob_id=blob if BLOB.fullmatch(blob) and not large else None,
    )


def is_complete(file: RemoteFile) -> bool:
    """Whether its size and a hash are told."""
    return file.size_bytes is not None and bool(file.sha256 or file.blob_id)


def fill(files: Sequence[RemoteFile], tree: Sequence[RemoteFile]) -> list[RemoteFile]:
    """The info's files, each as the tree knows it where the tree knows more."""
    known = {each.path: each for each in tree}
    return [each if is_complete(each) else known.get(each.path, each) for each in files]
