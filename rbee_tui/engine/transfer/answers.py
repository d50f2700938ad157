"""What an answer to a request for a file means: proceed, follow, ask again, or end with which error. Pure."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

from rbee_tui.engine.errors import AccessError, HubError, IntegrityError, NotFoundError, RbeeError
from rbee_tui.engine.text import clean, duration
from rbee_tui.engine.transfer.patience import Fault
from rbee_tui.engine.transfer.source import Source
from rbee_tui.engine.transfer.spans import Gap

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})$")
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,19})$")
_RATE_LIMIT = re.compile(r"\bt=(\d{1,9})\b")
_SHA256 = re.compile(r'(?:W/)?"?([0-9a-f]{64})"?$', re.IGNORECASE)
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425)
_GONE = (404, 410)
_FORBIDDEN = (401, 403)
_SERVER_FAULTS = range(500, 600)
_INFORMATION = range(100, 200)
_LONGEST_REASON = 300


class Asked(msgspec.Struct, frozen=True):
    """What was asked for."""

    source: Source
    gap: Gap
    conditional: bool
    """Whether If-Range was sent."""
    with_token: bool

    @property
    def whole(self) -> bool:
        """Whether the whole file was asked for, and so no Range was sent."""
        return self.gap == (0, self.source.size_bytes)


class Answer(msgspec.Struct, frozen=True):
    """Status line and headers of an answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    host: str
    at_hub: bool
    """Whether the configured endpoint answered, not a storage that it redirected to."""
    at: float
    """Seconds since the epoch."""


class Proceed(msgspec.Struct, frozen=True):
    """Read the body; its first `skip` bytes are there already."""

    skip: int = 0


class Follow(msgspec.Struct, frozen=True):
    """Go where the Location says."""

    location: str


class AskPlainly(msgspec.Struct, frozen=True):
    """Ask again without If-Range: the storage has a new ETag, and the content's own hash decides."""


Verdict = Proceed | Follow | AskPlainly | Fault | RbeeError


def judge(answer: Answer, asked: Asked) -> Verdict:
    """What an answer means."""
    status = answer.status
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return _body(answer, asked)
    if status in _REDIRECTS:
        return _redirect(answer, asked)
    return _passing(answer, asked) or _refused(answer, asked)


def _passing(answer: Answer, asked: Asked) -> Fault | RbeeError | None:
    """What to make of an answer that may be another one next time."""
    status = answer.status
    if status in _INFORMATION:
        return Fault("answer", f"{answer.host} answered with a bare {status}")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return _unsatisfied(answer, asked)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _limited(answer)
    if status in _SERVER_FAULTS or status in _PASSING:
        seconds = retry_after(answer)
        text = f"{answer.host} answered {_phrase(status)}{_asks(seconds)}"
        return Fault("answer", text, retry_after=seconds)
    return None


def _body(answer: Answer, asked: Asked) -> Verdict:
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return HubError(
            f"{answer.host} sends {asked.source.label} encoded as {clean(encoding)[:40]!r}, unasked",
            hint="something on the way to the Hub changes what it passes on: try another network or mirror",
        )
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        return _partial(answer, asked)
    if not asked.whole and asked.conditional:
        return AskPlainly()
    lie = _size_lie(answer, asked, _number(answer.headers.get("content-length")))
    return lie or Proceed(skip=asked.gap.start)


def _partial(answer: Answer, asked: Asked) -> Verdict:
    if asked.whole:
        return Fault("answer", f"{answer.host} sent a part of the file, though asked for all of it")
    said = answer.headers.get("content-range", "")
    match = _CONTENT_RANGE.match(said)
    wanted = (asked.gap.start, asked.gap.end - 1, asked.source.size_bytes)
    if not match or tuple(map(int, match.groups())) != wanted:
        text = f"{answer.host} sent other bytes than asked for ({clean(said)[:60]!r})"
        return Fault("answer", text)
    length = _number(answer.headers.get("content-length"))
    if length is not None and length != asked.gap.end - asked.gap.start:
        return Fault("answer", f"{answer.host} announced another length than it was asked for")
    return Proceed()


def _redirect(answer: Answer, asked: Asked) -> Verdict:
    location = answer.headers.get("location", "")
    if not location:
        return HubError(f"{answer.host} redirects {asked.source.label} to nowhere")
    if answer.at_hub:
        lie = _size_lie(answer, asked, _number(answer.headers.get("x-linked-size")))
        changed = _changed(answer, asked)
        if lie or changed:
            return lie or changed or Follow(location)
    return Follow(location)


def _changed(answer: Answer, asked: Asked) -> RbeeError | None:
    match = _SHA256.match(answer.headers.get("x-linked-etag", "").strip())
    if match and asked.source.sha256 and match.group(1).lower() != asked.source.sha256.lower():
        return IntegrityError(
            f"{asked.source.label} has another hash at the Hub than in its listing",
            hint="pull it again, so that the listing is read anew",
        )
    return None


def _size_lie(answer: Answer, asked: Asked, said: int | None) -> RbeeError | None:
    if said is None or said == asked.source.size_bytes:
        return None
    return IntegrityError(
        f"{answer.host} says that {asked.source.label} has {said} bytes; its listing says "
        f"{asked.source.size_bytes}",
        hint="pull it again, so that the listing is read anew",
    )


def _unsatisfied(answer: Answer, asked: Asked) -> Fault | RbeeError:
    match = _UNSATISFIED.match(answer.headers.get("content-range", ""))
    lie = _size_lie(answer, asked, int(match.group(1))) if match else None
    return lie or Fault("expired", f"{answer.host} says that there are no such bytes in the file")


def _limited(answer: Answer) -> Fault:
    seconds = retry_after(answer)
    who = "the Hub" if answer.at_hub else answer.host
    return Fault("limited", f"rate limited by {who}{_asks(seconds)}", retry_after=seconds)


def _asks(seconds: float | None) -> str:
    return f", which asks to wait for {duration(seconds)}" if seconds is not None else ""


def _refused(answer: Answer, asked: Asked) -> Verdict:
    status = answer.status
    if not answer.at_hub and (status in _FORBIDDEN or status in _GONE):
        return Fault("expired", f"{answer.host} refuses the address that the Hub signed ({status})")
    if status in _FORBIDDEN:
        return _no_access(answer, asked)
    if status in _GONE:
        return NotFoundError(f"{_absent(answer, asked)}{_reason(answer)}", hint="check the name")
    return HubError(f"{answer.host} answered {_phrase(status)} for {asked.source.label}{_reason(answer)}")


def _no_access(answer: Answer, asked: Asked) -> AccessError:
    source = asked.source
    repo = clean(source.repo)
    page = f"{clean(source.endpoint)}/{repo}"
    if answer.headers.get("x-error-code") == "GatedRepo":
        hint = f"ask for access at {page}" + ("" if asked.with_token else ", then set HF_TOKEN")
        return AccessError(
            f"{repo} is gated: its owner decides who may download it{_reason(answer)}", hint=hint
        )
    if not asked.with_token:
        hint = "check the name; for a private repository set HF_TOKEN"
        return AccessError(f"{repo} does not exist, or is private{_reason(answer)}", hint=hint)
    hint = f"check the token, and that its owner may read {page}"
    return AccessError(f"the Hub refuses this token for {repo} ({answer.status}){_reason(answer)}", hint=hint)


def _absent(answer: Answer, asked: Asked) -> str:
    source = asked.source
    repo, revision = clean(source.repo), clean(source.revision)
    match answer.headers.get("x-error-code"):
        case "RepoNotFound":
            return f"there is no repository {repo}"
        case "RevisionNotFound":
            return f"{repo} has no revision {revision}"
        case _:
            return f"there is no {clean(source.path)} in {repo} at {revision[:12]}"


def _reason(answer: Answer) -> str:
    """What the server says about it, as a clause."""
    text = " ".join(clean(answer.headers.get("x-error-message", "")).split())
    return f": {text[:_LONGEST_REASON]}" if text else ""


def _phrase(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - 64 bits


def retry_after(answer: Answer) -> float | None:
    """Seconds that the server asks to wait, from Retry-After (seconds or a date) or RateLimit's `t`."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    if text:
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - answer.at)
        except (ValueError, OverflowError):
            return None
    match = _RATE_LIMIT.search(answer.headers.get("ratelimit", ""))
    return float(match.group(1)) if match else None
