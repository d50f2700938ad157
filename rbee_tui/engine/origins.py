"""Whence a file of this disk came, as far as its place tells: a repository at a commit, or only the place."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rbee_tui.engine.elsewhere import hubcache
from rbee_tui.engine.naming import DEFAULT_ENDPOINT
from rbee_tui.engine.repository import MAIN

if TYPE_CHECKING:
    from rbee_tui.engine.elsewhere import Found


class Origin(NamedTuple):
    """The source of a model; everything but the URL is None where nobody knows."""

    url: str
    repo: str | None = None
    commit: str | None = None
    requested: str | None = None
    """As `Model.requested_revision`."""


def of_file(path: Path) -> Origin:
    """The origin of a file; one in the Hub's cache tells repository and commit."""
    known = hubcache.place(path)
    if known is None:
        return Origin(path.absolute().as_uri())
    return _at_hub(known.repo, known.commit, hubcache.refs(known.cache).get(known.commit), known.file)


def of_found(found: "Found") -> Origin:
    """The origin of another program's model."""
    if found.repo is None or found.commit is None:
        return Origin(Path(found.path).absolute().as_uri())
    return _at_hub(found.repo, found.commit, found.revision, found.source_path)


def _at_hub(repo: str, commit: str, revision: str | None, file: str | None) -> Origin:
    endpoint = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    place = f"resolve/{commit}/{file}" if file else f"tree/{commit}"
    # What no branch stands for was asked for by its commit.
    requested = None if revision == MAIN else revision or commit
    return Origin(f"{endpoint}/{repo}/{place}", repo, commit, requested)
