"""What the Hub tells: the results of a search, a repository at one commit, its revisions. All data."""

from typing import Literal

import msgspec

from rbee_tui.engine.choices import RemoteFile

MAIN = "main"
"""The branch that a repository has of itself."""
Sort = Literal["trending", "downloads", "likes", "recent"]
SORTS: tuple[Sort, ...] = ("downloads", "trending", "likes", "recent")


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What results of a search must be, and in which order they come."""

    sort: Sort = "downloads"
    gguf: bool = False
    task: str | None = None
    """As the Hub calls it: `text-generation`, `image-text-to-text`."""
    license: str | None = None
    """As the Hub calls it: `apache-2.0`, `mit`."""
    author: str | None = None
    billions: int | None = None
    """At most so many thousand million parameters."""


class RepoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a search."""

    id: str
    downloads: int = 0
    likes: int = 0
    updated_at: str | None = None
    gated: bool = False
    license: str | None = None
    tags: list[str] = []
    task: str | None = None


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository at one commit."""

    id: str
    commit: str
    gated: bool
    license: str | None
    files: list[RemoteFile]
    revision: str = MAIN
    """What was asked for: a branch, a tag or a commit."""
    gate: str = ""
    """How its owner lets people in: `auto` at once, `manual` after a look; empty where it is open."""
    private: bool = False
    task: str | None = None
    downloads: int = 0
    likes: int = 0
    updated_at: str | None = None


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A name under which a repository may be had."""

    name: str
    kind: Literal["branch", "tag"]
    commit: str
