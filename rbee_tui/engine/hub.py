"""The Hugging Face Hub: search, a repository's files at a pinned commit. The only import of huggingface_hub.

The library's client is replaced by one that speaks to the configured origin alone, so that a token follows no
link or redirect elsewhere, that gives up in time, and that never sleeps to ask again.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from rbee_tui.engine import cut as cuts
from rbee_tui.engine import listed, tokens
from rbee_tui.engine.choices import RemoteFile
from rbee_tui.engine.cut import Cut
from rbee_tui.engine.errors import HubError, NetworkError, RateLimitedError, RbeeError, UsageError
from rbee_tui.engine.naming import DEFAULT_ENDPOINT, check_endpoint, origin
from rbee_tui.engine.paths import Root
from rbee_tui.engine.refusals import rate_limited, refusal
from rbee_tui.engine.repository import MAIN, Filters, Repository, RepoSummary, Revision, Sort
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ExpandModelProperty_T, ModelSort_T

_TIMEOUT_SECONDS = 20.0
_OK, _TOO_MANY, _SERVER_ERRORS = 200, 429, 500
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
# As the library has it, which would refuse any other name in words of its own.
_REPO = re.compile(rf"(?!.*(?:--|\.\.|\.git$)){_PART}(?:/{_PART})?", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]{0,254}")
_origin: ContextVar[str] = ContextVar("origin")
T = TypeVar("T")
_CARD_BYTES = 1 << 18
_SORTS: "dict[Sort, ModelSort_T]" = {
    "trending": "trending_score",
    "downloads": "downloads",
    "likes": "likes",
    "recent": "last_modified",
}
# Without being asked, a listing tells neither whether a repository is gated nor when it was changed.
_EXPAND: "list[ExpandModelProperty_T]" = [
    "downloads",
    "likes",
    "gated",
    "lastModified",
    "createdAt",
    "tags",
    "pipeline_tag",
]


class ElsewhereError(HubError):
    """An answer leads to another origin than the configured one: it is not followed."""


class Hub:
    """One Hub or mirror; every method blocks, and may be called from any thread."""

    def __init__(
        self, endpoint: str | None = None, token: str | None = None, *, root: Root | None = None
    ) -> None:
        """Use HF_ENDPOINT and the user's own token by default; an empty token means none.

        `root` is where a token may have been entered. Raises UsageError for an endpoint that is not an
        http(s) address.
        """
        self.endpoint = check_endpoint(endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)
        self._token = token
        self._root = root

    @property
    def token(self) -> str | None:
        """The token that is used now; None for an anonymous user."""
        found = self.named_token
        return found.text if found else None

    @property
    def named_token(self) -> tokens.Token | None:
        """The token that is used now, and where it comes from; looked for each time, as it may be entered."""
        if self._token is not None:
            return tokens.Token(text=self._token, source="given") if self._token else None
        return tokens.find(self._root, self.endpoint)

    def search(
        self, query: str, limit: int = 20, filters: Filters | None = None, cut: Cut | None = None
    ) -> list[RepoSummary]:
        """Models whose name matches, in the order that `filters` name; `cut` ends it from another thread."""
        asked = filters or Filters()
        tags = [*(["gguf"] if asked.gguf else []), *([f"license:{asked.license}"] if asked.license else [])]
        with self._api() as api, cut.asking(_prepared[0]) if cut else nullcontext():
            found = api.list_models(
                search=query or None,
                limit=limit,
                sort=_SORTS[asked.sort],
                filter=tags or None,
                pipeline_tag=asked.task,
                author=asked.author,
                num_parameters=f"max:{asked.billions}B" if asked.billions else None,
                expand=_EXPAND,
            )
            return [listed.summary(model) for model in found]

    def repository(self, repo: str, revision: str = MAIN) -> Repository:
        """The files of a repository, at the commit that `revision` names now.

        Raises NotFoundError, AccessError, RateLimitedError, NetworkError, UsageError for an impossible name.
        """
        _check_name(repo)
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise UsageError(f"{clean(revision)!r} is not a revision", hint="a branch, a tag or a commit")
        with self._api() as api, self._asking(repo, revision):
            info = api.model_info(repo, revision=revision, files_metadata=True)
            files = [listed.file(each) for each in info.siblings or []]
            commit = info.sha or revision
            if any(not listed.is_complete(file) for file in files):
                files = listed.fill(files, self._tree(api, repo, commit))
        card = info.card_data.to_dict() if info.card_data else {}
        license_name = card.get("license") or listed.tagged_license(info.tags or [])
        return Repository(
            id=info.id or repo,
            commit=commit,
            gated=bool(info.gated),
            license=license_name if isinstance(license_name, str) else None,
            files=files,
            revision=revision,
            gate=info.gated if isinstance(info.gated, str) else "auto" if info.gated else "",
            private=bool(info.private),
            task=info.pipeline_tag,
            downloads=info.downloads or 0,
            likes=info.likes or 0,
            updated_at=listed.stamp(info.last_modified),
        )

    def revisions(self, repo: str) -> list[Revision]:
        """The branches and tags of a repository, `main` first; raises as `repository` does."""
        _check_name(repo)
        with self._api() as api, self._asking(repo, MAIN):
            refs = api.list_repo_refs(repo)
        named = [
            *(Revision(name=each.name, kind="branch", commit=each.target_commit) for each in refs.branches),
            *(Revision(name=each.name, kind="tag", commit=each.target_commit) for each in refs.tags),
        ]
        return sorted(named, key=lambda each: (each.name != MAIN, each.kind, each.name))

    def card(self, repository: Repository) -> str:
        """The repository's README as it stands, at most its first 256 KiB; empty where there is none."""
        if not any(file.path == "README.md" for file in repository.files):
            return ""
        address = f"{self._resolve(repository)}/README.md"
        with self._api(), self._asking(repository.id, repository.commit):
            return self._first_bytes(address).decode(errors="replace")

    def _first_bytes(self, address: str) -> bytes:
        """The beginning of a small file; nothing where it is not to be had from this origin."""
        from huggingface_hub.utils import get_session  # noqa: PLC0415 - as above

        raw = b""
        try:
            with get_session().stream("GET", address, headers=self._headers()) as answer:
                if answer.status_code != _OK:
                    return b""
                for chunk in answer.iter_bytes():
                    raw += chunk
                    if len(raw) >= _CARD_BYTES:
                        break
        except ElsewhereError:
            return b""
        return raw[:_CARD_BYTES]

    def _resolve(self, repository: Repository) -> str:
        return f"{self.endpoint}/{repository.id}/resolve/{quote(repository.commit, safe='')}"

    def _headers(self) -> dict[str, str]:
        token = self.token
        return {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def complete(self, repository: Repository, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """These files with the sizes and hashes that the listing lacked, asked for one by one."""
        with self._api(), self._asking(repository.id, repository.commit):
            return [f if listed.is_complete(f) else self._head(repository, f) for f in files]

    def _tree(self, api: "HfApi", repo: str, commit: str) -> list[RemoteFile]:
        """What the tree tells on this origin; what it leaves out can be asked file by file."""
        found: list[RemoteFile] = []
        try:
            for entry in api.list_repo_tree(repo, recursive=True, revision=commit):
                if hasattr(entry, "blob_id"):
                    found.append(listed.file(entry, name="path"))  # noqa: PERF401 - what came before an error is kept
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

        address = f"{self._resolve(repository)}/{quote(file.path)}"
        answer = get_session().head(address, headers=self._headers(), follow_redirects=False)
        if answer.status_code >= 400:  # noqa: PLR2004 - the first of the errors
            raise refusal(answer.status_code, answer.headers, repository.id, repository.commit, self.token)
        length = answer.headers.get("x-linked-size") or (
            answer.headers.get("content-length") if answer.status_code == _OK else None
        )
        if length is None or not length.isdecimal():
            raise HubError(f"the Hub does not tell the size of {clean(file.path)} in {clean(repository.id)}")
        tag = (answer.headers.get("x-linked-etag") or answer.headers.get("etag") or "").strip('W/"').lower()
        return RemoteFile(
            path=file.path,
            size_bytes=int(length),
            sha256=tag if listed.SHA256.fullmatch(tag) else file.sha256,
            blob_id=tag if listed.BLOB.fullmatch(tag) else file.blob_id,
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
            raise refusal(answer.status_code, answer.headers, repo, revision, self.token) from error

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


def _check_name(repo: str) -> None:
    if not _REPO.fullmatch(repo):
        raise UsageError(f"{clean(repo)!r} is not a repository's name", hint="it looks like owner/name")


_prepared: "list[Callable[[], httpx2.Client]]" = []
"""What makes our client, once the library has it."""
_preparing = threading.Lock()


def _prepare_library() -> None:
    """Give the library our client once, and silence what it would print."""
    with _preparing:
        if not _prepared:
            _prepared.append(_prepare())


def _prepare() -> "Callable[[], httpx2.Client]":
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx2  # noqa: PLC0415 - as above
    from huggingface_hub.utils import logging as library_logging  # noqa: PLC0415 - as above
    from huggingface_hub.utils import set_client_factory  # noqa: PLC0415 - as above

    class Client(httpx2.Client):
        """A client that gives up in time, and says in a sentence what the transport met."""

        def send(self, request: "httpx2.Request", **options: Any) -> "httpx2.Response":
            # The library asks with no timeout at all, which would overrule the client's own.
            request.extensions["timeout"] = httpx2.Timeout(_TIMEOUT_SECONDS).as_dict()
            asked = cuts.current()
            if asked is not None and asked.client is not self:
                request.extensions["trace"] = asked.trace
                return asked.client.send(request, **options)
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
    return make


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


def _unreachable(request: "httpx2.Request", error: Exception) -> NetworkError:
    import httpx2  # noqa: PLC0415 - as above

    host = clean(f"{request.url.host}:{request.url.port}" if request.url.port else str(request.url.host))
    if isinstance(error, httpx2.TimeoutException):
        return NetworkError(f"{host} did not answer within {_TIMEOUT_SECONDS:.0f} s", hint="try again")
    reason = clean(str(error))[:160] or type(error).__name__
    return NetworkError(
        f"cannot reach {host}: {reason}", hint="check the network, HF_ENDPOINT and proxy settings"
    )
