"""The Hugging Face Hub: search, a repository's files at a pinned commit. The only import of huggingface_hub.

The library's client is replaced by one that speaks to the configured origin alone, so that a token follows no
link or redirect elsewhere, that gives up in time, and that never sleeps to ask again.
"""

import logging
import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from rbee_tui.engine.choices import RemoteFile
from rbee_tui.engine.errors import (
    AccessError,
    HubError,
    NetworkError,
    NotFoundError,
    RateLimitedError,
    RbeeError,
    UsageError,
)
from rbee_tui.engine.text import clean, duration

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

DEFAULT_ENDPOINT = "https://huggingface.co"
_TIMEOUT_SECONDS = 20.0
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER_ERRORS = 401, 403, 404, 429, 500
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
# As the library has it, which would refuse any other name in words of its own.
_REPO = re.compile(rf"(?!.*(?:--|\.\.|\.git$)){_PART}(?:/{_PART})?", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB = re.compile(r"[0-9a-f]{40}")
_RATE_LIMIT = re.compile(r"\bt=(\d{1,9})\b")
_origin: ContextVar[str] = ContextVar("origin")
T = TypeVar("T")


class ElsewhereError(HubError):
    """An answer leads to another origin than the configured one: it is not followed."""


class RepoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a search."""

    id: str
    downloads: int = 0
    likes: int = 0
    updated_at: str | None = None
    gated: bool = False
    license: str | None = None
    tags: list[str] = []


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository at one commit."""

    id: str
    commit: str
    gated: bool
    license: str | None
    files: list[RemoteFile]


class Hub:
    """One Hub or mirror; every method blocks, and may be called from any thread."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        """Use HF_ENDPOINT and the user's own token by default; an empty token means none.

        Raises UsageError for an endpoint that is not an http(s) address.
        """
        self.endpoint = check_endpoint(endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)
        self._token = token

    @property
    def token(self) -> str | None:
        """The token: HF_TOKEN, or the Hub's own token file; None for an anonymous user."""
        if self._token is None:
            from huggingface_hub import get_token  # noqa: PLC0415 - 250 ms that only the Hub's users pay

            self._token = get_token() or ""
        return self._token or None

    def search(self, query: str, limit: int = 20) -> list[RepoSummary]:
        """Models whose name matches, the most downloaded first."""
        with self._api() as api:
            found = list(api.list_models(search=query, limit=limit, sort="downloads"))
        return [_summary(model) for model in found]

    def repository(self, repo: str, revision: str = "main") -> Repository:
        """The files of a repository, at the commit that `revision` names now.

        Raises NotFoundError, AccessError, RateLimitedError, NetworkError, UsageError for an impossible name.
        """
        if not _REPO.fullmatch(repo):
            raise UsageError(f"{clean(repo)!r} is not a repository's name", hint="it looks like owner/name")
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise UsageError(f"{clean(revision)!r} is not a revision", hint="a branch, a tag or a commit")
        with self._api() as api, self._asking(repo, revision):
            info = api.model_info(repo, revision=revision, files_metadata=True)
            files = [_sibling(each) for each in info.siblings or []]
            commit = info.sha or revision
            if any(not _complete(file) for file in files):
                files = _fill(files, self._tree(api, repo, commit))
        card = info.card_data.to_dict() if info.card_data else {}
        license_name = card.get("license") or _tagged(info.tags or [])
        return Repository(
            id=info.id or repo,
            commit=commit,
            gated=bool(info.gated),
            license=license_name if isinstance(license_name, str) else None,
            files=files,
        )

    def complete(self, repository: Repository, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """These files with the sizes and hashes that the listing lacked, asked for one by one."""
        with self._api(), self._asking(repository.id, repository.commit):
            return [f if _complete(f) else self._head(repository, f) for f in files]

    def _tree(self, api: "HfApi", repo: str, commit: str) -> list[RemoteFile]:
        """What the tree tells on this origin; what it leaves out can be asked file by file."""
        found: list[RemoteFile] = []
        try:
            for entry in api.list_repo_tree(repo, recursive=True, revision=commit):
                if hasattr(entry, "blob_id"):
                    found.append(_sibling(entry, name="path"))  # noqa: PERF401 - what came before an error is kept
        except ElsewhereError:
            # A mirror's next page may point at what it mirrors, which was not asked for.
            logging.getLogger(__name__).debug("the tree goes on elsewhere")
        except (RateLimitedError, NetworkError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the file itself can still be asked
            logging.getLogger(__name__).debug("no tree: %s", type(error).__name__)
        return found

    def _head(self, repository: Repository, file: RemoteFile) -> RemoteFile:
        from huggingface_hub.utils import get_session  # noqa: PLC0415 - as above

        path = f"{repository.id}/resolve/{quote(repository.commit, safe='')}/{quote(file.path)}"
        headers = {"Accept-Encoding": "identity"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        answer = get_session().head(f"{self.endpoint}/{path}", headers=headers, follow_redirects=False)
        if answer.status_code >= 400:  # noqa: PLR2004 - the first of the errors
            raise _refusal(answer.status_code, answer.headers, repository.id, repository.commit, self.token)
        length = answer.headers.get("x-linked-size") or (
            answer.headers.get("content-length") if answer.status_code == 200 else None  # noqa: PLR2004 - OK
        )
        if length is None or not length.isdecimal():
            raise HubError(f"the Hub does not tell the size of {clean(file.path)} in {clean(repository.id)}")
        tag = (answer.headers.get("x-linked-etag") or answer.headers.get("etag") or "").strip('W/"').lower()
        return RemoteFile(
            path=file.path,
            size_bytes=int(length),
            sha256=tag if _SHA256.fullmatch(tag) else file.sha256,
            blob_id=tag if _BLOB.fullmatch(tag) else file.blob_id,
        )

    @contextmanager
    def _api(self) -> "Generator[HfApi]":
        """The library's client, bound to this Hub's origin; whatever goes wrong becomes an RbeeError."""
        _prepare_library()
        from huggingface_hub import HfApi  # noqa: PLC0415 - as above

        before = _origin.set(origin(self.endpoint))
        try:
            # False, not None: the library would look for a token of its own.
            yield HfApi(endpoint=self.endpoint, token=self.token or False, library_name="rbee")
        except RbeeError:
            raise
        except Exception as error:
            raise self._translate(error) from error
        finally:
            _origin.reset(before)

    @contextmanager
    def _asking(self, repo: str, revision: str) -> Generator[None]:
        """Say of a refusal which repository and revision it was about."""
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - as above

        try:
            yield
        except HfHubHTTPError as error:
            answer = error.response
            raise _refusal(answer.status_code, answer.headers, repo, revision, self.token) from error

    def _translate(self, error: Exception) -> RbeeError:
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled  # noqa: PLC0415 - as above

        where = clean(self.endpoint)
        if isinstance(error, OfflineModeIsEnabled):
            return NetworkError("HF_HUB_OFFLINE is set: the Hub is not asked", hint="unset it")
        if isinstance(error, HfHubHTTPError):
            return HubError(f"{where} answered {error.response.status_code}")
        if isinstance(error, OSError):
            return NetworkError(f"cannot reach {where}: {clean(str(error))[:200]}")
        return HubError(
            f"{where} answers, but not as a Hub does ({type(error).__name__})", hint="check HF_ENDPOINT"
        )


def check_endpoint(endpoint: str) -> str:
    """The endpoint without a slash at its end; raises UsageError where it is not an http(s) address."""
    try:
        found = urlsplit(endpoint)
        fine = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
        fine = fine and not (found.username or found.query or found.fragment)
    except ValueError:
        fine = False
    if not fine:
        raise UsageError(f"HF_ENDPOINT {clean(endpoint)!r} is not an address", hint=f"as {DEFAULT_ENDPOINT}")
    return endpoint.rstrip("/")


def origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    found = urlsplit(url)
    port = found.port or {"http": 80, "https": 443}.get(found.scheme, 0)
    return f"{found.scheme}://{found.hostname}:{port}"


_prepared: list[bool] = []


def _prepare_library() -> None:
    """Give the library our client once, and silence what it would print."""
    if _prepared:
        return
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx2  # noqa: PLC0415 - as above
    from huggingface_hub.utils import logging as library_logging  # noqa: PLC0415 - as above
    from huggingface_hub.utils import set_client_factory  # noqa: PLC0415 - as above

    class Client(httpx2.Client):
        """A client that gives up in time, and says in a sentence what the transport met."""

        def send(self, request: "httpx2.Request", **options: Any) -> "httpx2.Response":
            # The library asks with no timeout at all, which would overrule the client's own.
            request.extensions["timeout"] = httpx2.Timeout(_TIMEOUT_SECONDS).as_dict()
            try:
                return super().send(request, **options)
            except httpx2.TooManyRedirects as error:
                raise HubError(f"{clean(str(request.url.host))} redirects in a circle") from error
            except httpx2.TransportError as error:
                raise _unreachable(request, error) from error

    def make() -> httpx2.Client:
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [_guard], "response": [_limit]}
        return Client(event_hooks=hooks, follow_redirects=True)

    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    library_logging.set_verbosity_error()
    set_client_factory(make)
    _prepared.append(True)


def _guard(request: "httpx2.Request") -> None:
    """Refuse to leave the configured origin: the request may carry the token."""
    from huggingface_hub.constants import is_offline_mode  # noqa: PLC0415 - as above
    from huggingface_hub.errors import OfflineModeIsEnabled  # noqa: PLC0415 - as above

    if is_offline_mode():
        raise OfflineModeIsEnabled
    allowed, asked = _origin.get(""), origin(str(request.url))
    if asked != allowed:
        raise ElsewhereError(
            f"{clean(allowed)} leads to {clean(asked)}, which was not asked for",
            hint=f"if that is right, set HF_ENDPOINT to {clean(asked)}",
        )


def _limit(response: "httpx2.Response") -> None:
    """Fail at once on 429 and 5xx: the library would sleep and ask again, for as long as the server says."""
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - as above

    if response.status_code == _TOO_MANY:
        raise rate_limited(response.headers)
    if response.status_code >= _SERVER_ERRORS:
        raise HfHubHTTPError(str(response.status_code), response=response)


def rate_limited(headers: Any) -> RateLimitedError:
    """The error for a 429, with the time that the server asks for."""
    text = (headers.get("retry-after") or "").strip()
    limit = _RATE_LIMIT.search(headers.get("ratelimit") or "")
    seconds = float(text[:9]) if text.isdecimal() else float(limit.group(1)) if limit else None
    asks = f", and asks for {duration(seconds)}" if seconds is not None else ""
    return RateLimitedError(
        f"the Hub limits how often it may be asked{asks}",
        hint="try again later; with a token (HF_TOKEN) it allows more",
        retry_after=seconds,
    )


def _unreachable(request: "httpx2.Request", error: Exception) -> NetworkError:
    import httpx2  # noqa: PLC0415 - as above

    host = clean(f"{request.url.host}:{request.url.port}" if request.url.port else str(request.url.host))
    if isinstance(error, httpx2.TimeoutException):
        return NetworkError(f"{host} did not answer within {_TIMEOUT_SECONDS:.0f} s", hint="try again")
    reason = clean(str(error))[:160] or type(error).__name__
    return NetworkError(
        f"cannot reach {host}: {reason}", hint="check the network, HF_ENDPOINT and proxy settings"
    )


def _refusal(status: int, headers: Any, repo: str, revision: str, token: str | None) -> RbeeError:
    """The error for an answer that is one, from its status and the Hub's X-Error-Code."""
    code = headers.get("x-error-code") or ""
    name = clean(repo)
    if code == "RevisionNotFound":
        return NotFoundError(f"{name} has no revision {clean(revision)!r}")
    if code == "GatedRepo":
        hint = "ask for access on its page" + ("" if token else ", then set HF_TOKEN")
        return AccessError(f"{name} is gated: its owner decides who may download it", hint=hint)
    if status == _NOT_FOUND or (status == _UNAUTHORIZED and token and code == "RepoNotFound"):
        return NotFoundError(f"there is no repository {name}", hint="rbee search WORDS finds some")
    if status == _UNAUTHORIZED and not token:
        hint = "check the name; for a private one set HF_TOKEN"
        return AccessError(f"there is no repository {name}, or it is private", hint=hint)
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return AccessError(f"the Hub refuses this token for {name} ({status})", hint="check HF_TOKEN")
    return HubError(f"the Hub answered {status} for {name}", hint="try again later")


def _summary(model: Any) -> RepoSummary:
    updated = getattr(model, "last_modified", None) or getattr(model, "created_at", None)
    return RepoSummary(
        id=model.id,
        downloads=model.downloads or 0,
        likes=model.likes or 0,
        updated_at=updated.strftime("%Y-%m-%dT%H:%M:%SZ") if updated else None,
        gated=bool(model.gated),
        license=_tagged(model.tags or []),
        tags=list(model.tags or []),
    )


def _tagged(tags: Sequence[str]) -> str | None:
    return next((tag[8:] for tag in tags if tag.startswith("license:")), None)


def _sibling(found: Any, name: str = "rfilename") -> RemoteFile:
    """A file of the info's siblings or of the tree."""
    large = getattr(found, "lfs", None)
    sha256 = (getattr(large, "sha256", None) or "").lower() if large else ""
    size = (getattr(large, "size", None) if large else None) or getattr(found, "size", None)
    blob = (getattr(found, "blob_id", None) or "").lower()
    return RemoteFile(
        path=getattr(found, name),
        size_bytes=size if isinstance(size, int) and size >= 0 else None,
        sha256=sha256 if _SHA256.fullmatch(sha256) else None,
        # A large file's blob id is that of its pointer: it says nothing of the content.
        blob_id=blob if _BLOB.fullmatch(blob) and not large else None,
    )


def _complete(file: RemoteFile) -> bool:
    return file.size_bytes is not None and bool(file.sha256 or file.blob_id)


def _fill(files: Sequence[RemoteFile], tree: Sequence[RemoteFile]) -> list[RemoteFile]:
    """The info's files, each as the tree knows it where the tree knows more."""
    known = {file.path: file for file in tree}
    return [file if _complete(file) else known.get(file.path, file) for file in files]
