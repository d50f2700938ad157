"""What the Hub's refusals mean: from a status and its headers to an error that a person can use. Pure."""

import re
from typing import Any

from rbee_tui.engine.errors import AccessError, HubError, NotFoundError, RateLimitedError, RbeeError
from rbee_tui.engine.text import clean, duration

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_RATE_LIMIT = re.compile(r"\bt=(\d{1,9})\b")


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


def refusal(status: int, headers: Any, repo: str, revision: str, token: str | None) -> RbeeError:
    """The error for an answer that is one, from its status and the Hub's X-Error-Code."""
    code = headers.get("x-error-code") or ""
    name = clean(repo)
    if code == "RevisionNotFound":
        return NotFoundError(f"{name} has no revision {clean(revision)!r}")
    if code == "GatedRepo":
        hint = access_hint(name, has_token=bool(token))
        return AccessError(f"{name} is gated: its owner decides who may download it", hint=hint)
    if status == _NOT_FOUND or (status == _UNAUTHORIZED and token and code == "RepoNotFound"):
        return NotFoundError(f"there is no repository {name}", hint="rbee search WORDS finds some")
    if status == _UNAUTHORIZED and not token:
        hint = "check the name; for a private one: rbee token set (or HF_TOKEN)"
        return AccessError(f"there is no repository {name}, or it is private", hint=hint)
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return AccessError(
            f"the Hub refuses this token for {name} ({status})", hint="rbee token shows which one is used"
        )
    return HubError(f"the Hub answered {status} for {name}", hint="try again later")


def access_hint(name: str, *, has_token: bool) -> str:
    """What to do about a gated repository, in words."""
    ask = f"ask for access on the page of {name} at the Hub"
    if has_token:
        return f"{ask}; the token in use (rbee token) has to belong to who asked"
    return f"{ask}, then give the token of that account: rbee token set (or HF_TOKEN)"
