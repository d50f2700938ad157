"""How the Hub and what it has are named: owner/name with a file, a page's address, an endpoint. Pure."""

import re
from urllib.parse import unquote, urlsplit

import msgspec

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean

DEFAULT_ENDPOINT = "https://huggingface.co"
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+?))?(?::(?P<file>\S.*))?", re.ASCII)
_HOSTS = ("huggingface.co/", "www.huggingface.co/", "hf.co/")
_VIEWS = ("tree", "blob", "resolve")


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A repository, and what of it: a file or a quantisation, a revision."""

    repo: str
    file: str | None = None
    revision: str | None = None


def parse(text: str) -> Named | None:
    """What is named; None for what are only words to search for."""
    said = text.strip()
    if "://" in said:
        return _of_page(said)
    for host in _HOSTS:
        if said.lower().startswith(host):
            return (
                _of_page(f"https://{said}")
                if "/blob/" in said or "/tree/" in said
                else parse(said[len(host) :])
            )
    found = _NAME.fullmatch(said)
    if found is None or ".." in said.partition(":")[0]:
        return None
    return Named(repo=found["repo"], file=found["file"], revision=found["revision"])


def _of_page(address: str) -> Named | None:
    """The repository, revision and file of a page of any Hub."""
    try:
        parts = [unquote(each) for each in urlsplit(address).path.split("/") if each]
    except ValueError:
        return None
    if len(parts) < 2 or parts[0] in ("datasets", "spaces", "api"):  # noqa: PLR2004 - owner and name
        return None
    repo, rest = "/".join(parts[:2]), parts[2:]
    if len(rest) < 2 or rest[0] not in _VIEWS:  # noqa: PLR2004 - a view and its revision
        return Named(repo=repo)
    file = "/".join(rest[2:]) if rest[0] != "tree" else ""
    return Named(repo=repo, file=file or None, revision=rest[1])


def require(text: str) -> Named:
    """What is named; raises UsageError for what names nothing."""
    found = parse(text)
    if found is None or text.endswith(":"):
        raise UsageError(f"{clean(text)!r} is not REPO[:FILE]", hint="as in Qwen/Qwen3-4B-GGUF:Q4_K_M")
    return found


def check_endpoint(endpoint: str) -> str:
    """The endpoint without a slash at its end; raises UsageError where it is not an http(s) address."""
    if not is_server(endpoint):
        raise UsageError(f"HF_ENDPOINT {clean(endpoint)!r} is not an address", hint=f"as {DEFAULT_ENDPOINT}")
    return endpoint.rstrip("/")


def is_server(url: str) -> bool:
    """Whether a URL is that of an http(s) server, perhaps with a path: no name, no query, no fragment."""
    try:
        found = urlsplit(url)
        fine = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        return False
    return fine and not ("@" in found.netloc or found.query or found.fragment)


def origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    found = urlsplit(url)
    port = found.port or {"http": 80, "https": 443}.get(found.scheme, 0)
    return f"{found.scheme}://{found.hostname}:{port}"
