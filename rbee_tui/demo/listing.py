"""What the demo's Hub has, and how it tells it: searches, repositories, trees and refs in real shapes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

LARGE = 100_000
"""Files from this size on are LFS files: bytes."""
_PAGE = 1000
_ORDERS: dict[str, Callable[["DemoRepo"], Any]] = {
    "downloads": lambda repo: repo.downloads,
    "likes": lambda repo: repo.likes,
    "trendingScore": lambda repo: repo.trending,
    "lastModified": lambda repo: repo.modified,
    "createdAt": lambda repo: repo.modified,
}
# What a listing tells without being asked: neither gate nor date.
_PLAIN = ("id", "modelId", "private", "downloads", "likes", "tags", "pipeline_tag", "createdAt")


@dataclass
class DemoRepo:
    """A repository: its files by path, and who may have them."""

    id: str
    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    license: str = "apache-2.0"
    downloads: int = 0
    likes: int = 0
    tags: list[str] = field(default_factory=lambda: ["gguf"])
    commit: str = ""
    task: str = "text-generation"
    trending: int = 0
    modified: str = "2026-01-01T00:00:00.000Z"
    billions: float = 0.0
    """Thousand million parameters, as the Hub counts them from the headers."""
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    """Branches besides main, and their files."""
    tagged: dict[str, str] = field(default_factory=dict[str, str])
    """Tags, each of a branch or a commit."""
    history: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    """The files of earlier commits."""

    def __post_init__(self) -> None:
        """Name the commit after its content."""
        self.commit = self.commit or _commit_of(self.id, self.files)

    def push(self, files: Mapping[str, bytes]) -> str:
        """Change or add files on main, as a new commit; its name."""
        self.history[self.commit] = dict(self.files)
        self.files = {**self.files, **files}
        self.commit = _commit_of(self.id, self.files)
        return self.commit

    def names(self) -> dict[str, str]:
        """The commit of each branch."""
        others = {name: _commit_of(f"{self.id}@{name}", files) for name, files in self.revisions.items()}
        return {"main": self.commit, **others}

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and the files that a branch, a tag or a commit stands for."""
        wanted = self.tagged.get(revision, revision.removeprefix("refs/heads/"))
        if wanted in ("main", self.commit):
            return self.commit, self.files
        for name, commit in self.names().items():
            if wanted in (name, commit):
                return commit, self.revisions[name]
        return (wanted, self.history[wanted]) if wanted in self.history else None


def _commit_of(name: str, files: Mapping[str, bytes]) -> str:
    content = hashlib.sha1(name.encode(), usedforsecurity=False)
    for path, data in sorted(files.items()):
        content.update(path.encode() + data)
    return content.hexdigest()


def search(url: str, query: QueryParams, repos: Iterable[DemoRepo]) -> Response:
    """The page of results that is asked for."""
    found = [repo for repo in repos if not repo.private and _matches(repo, query)]
    order = _ORDERS.get(query.get("sort", ""), _ORDERS["downloads"])
    found.sort(key=lambda repo: repo.id)
    found.sort(key=order, reverse=True)
    limit, start = int(query.get("limit", _PAGE)), int(query.get("cursor", 0))
    wanted = query.getlist("expand")
    page = [_told(summary(repo), wanted) for repo in found[start : start + limit]]
    headers: dict[str, str] = {}
    if start + limit < len(found):
        headers["Link"] = f'<{url}/api/models?{next_page(query, start + limit)}>; rel="next"'
    return JSONResponse(page, headers=headers)


def _matches(repo: DemoRepo, query: QueryParams) -> bool:
    words = query.get("search", "").lower().split()
    tags = [*repo.tags, f"license:{repo.license}", repo.task]
    said = f"{repo.id} {' '.join(repo.tags)}".lower()
    author, task = query.get("author"), query.get("pipeline_tag")
    return (
        all(word in said for word in words)
        and all(tag in tags for tag in query.getlist("filter"))
        and (author is None or repo.id.startswith(f"{author}/"))
        and task in (None, repo.task)
        and repo.billions <= _most(query.get("num_parameters", ""))
    )


def _most(text: str) -> float:
    """The upper end of `min:6B,max:128B`, in thousand millions."""
    for part in text.split(","):
        if part.startswith("max:"):
            return float(part[4:].rstrip("B"))
    return float("inf")


def _told(about: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """What a listing tells of a repository: what is asked for, or what it tells anyway."""
    names = ["_id", "id", *(wanted or _PLAIN)]
    return {name: about[name] for name in names if name in about}


def summary(repo: DemoRepo, commit: str = "") -> dict[str, Any]:
    """All that is told of a repository but its files."""
    return {
        "_id": hashlib.sha256(repo.id.encode()).hexdigest()[:24],
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.id.split("/", maxsplit=1)[0],
        "sha": commit or repo.commit,
        "lastModified": repo.modified,
        "createdAt": repo.modified,
        "private": repo.private,
        "gated": "auto" if repo.gated else False,
        "disabled": False,
        "downloads": repo.downloads,
        "likes": repo.likes,
        "trendingScore": repo.trending,
        "tags": [*repo.tags, f"license:{repo.license}"],
        "pipeline_tag": repo.task,
    }


def about(url: str, request: Request, repo: DemoRepo, rest: list[str]) -> Response:
    """What `/api/models/<repo>/<rest>` answers."""
    verb = rest[0] if rest else ""
    if verb == "refs":
        return JSONResponse(_refs(repo))
    if verb not in ("", "revision", "tree"):
        return error(404, "", "Not found")
    named = unquote(rest[1]) if len(rest) > 1 else "" if verb else "main"
    there = repo.at(named)
    if there is None:
        return error(404, "RevisionNotFound", f"Invalid rev id: {named}")
    if verb == "tree":
        return _tree(url, request, there[1], "/".join(rest[2:]))
    return JSONResponse(_info(repo, *there, blobs="blobs" in request.query_params))


def _refs(repo: DemoRepo) -> dict[str, Any]:
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
        for name, commit in repo.names().items()
    ]
    tags = [
        {"name": name, "ref": f"refs/tags/{name}", "targetCommit": found[0]}
        for name in repo.tagged
        if (found := repo.at(name))
    ]
    return {"branches": branches, "converts": [], "tags": tags}


def _info(repo: DemoRepo, commit: str, files: Mapping[str, bytes], *, blobs: bool) -> dict[str, Any]:
    siblings = [{"rfilename": path, **(_blob(data) if blobs else {})} for path, data in sorted(files.items())]
    return {**summary(repo, commit), "cardData": {"license": repo.license}, "siblings": siblings}


def _tree(url: str, request: Request, files: Mapping[str, bytes], under: str) -> Response:
    recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
    entries: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if under and not path.startswith(f"{under}/"):
            continue
        inner = path[len(under) + 1 :] if under else path
        folder, slash, _ = inner.partition("/")
        if slash:
            at = f"{under}/{folder}" if under else folder
            entries.setdefault(at, {"type": "directory", "oid": "0" * 40, "size": 0, "path": at})
        if recursive or not slash:
            entries[path] = _tree_entry(path, data)
    found = list(entries.values())
    start, limit = int(request.query_params.get("cursor", 0)), int(request.query_params.get("limit", _PAGE))
    headers: dict[str, str] = {}
    if start + limit < len(found):
        more = next_page(request.query_params, start + limit)
        headers["Link"] = f'<{url}{request.url.path}?{more}>; rel="next"'
    return JSONResponse(found[start : start + limit], headers=headers)


def next_page(query: QueryParams, cursor: int) -> str:
    """The query of the page that begins at `cursor`."""
    kept = [(key, value) for key, value in query.multi_items() if key != "cursor"]
    return urlencode([*kept, ("cursor", str(cursor))])


def git_blob_id(data: bytes) -> str:
    """The name that git gives to this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _blob(data: bytes) -> dict[str, Any]:
    if len(data) < LARGE:
        return {"size": len(data), "blobId": git_blob_id(data)}
    pointer = _pointer(data)
    sha256 = hashlib.sha256(data).hexdigest()
    lfs = {"sha256": sha256, "size": len(data), "pointerSize": len(pointer)}
    return {"size": len(data), "blobId": git_blob_id(pointer), "lfs": lfs}


def _tree_entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_blob_id(data)}
    if len(data) >= LARGE:
        pointer = _pointer(data)
        entry["oid"] = git_blob_id(pointer)
        sha256 = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": len(pointer)}
    return entry


def _pointer(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()


def error(status: int, code: str, text: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that is one, as the Hub words it."""
    told = {"X-Error-Message": text, **({"X-Error-Code": code} if code else {}), **(headers or {})}
    return Response(
        json.dumps({"error": text}), status_code=status, headers=told, media_type="application/json"
    )
