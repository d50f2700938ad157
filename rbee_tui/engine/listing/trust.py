"""Whether a listing is accepted: a row of pure checks, each with its own reason to refuse."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import cached_property

import msgspec

from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing import signing
from rbee_tui.engine.listing.format import Listing
from rbee_tui.engine.listing.signing import Signed
from rbee_tui.engine.text import clean


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A catalog that is trusted, and what was last seen of it."""

    url: str
    key: str
    catalog: str = ""
    """Its own name; empty until its first listing was accepted."""
    version: int = 0
    digest: str = ""
    """SHA-256 of the listing of that version."""


class Case(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A listing that arrived, the pin that it has to satisfy, and the moment."""

    pin: Pin
    signed: Signed
    now: datetime

    @cached_property
    def listing(self) -> Listing:
        """What the bytes say; raises MetadataError."""
        return form.decode(self.signed.body)

    def refuse(self, reason: str, hint: str = "") -> RefusedError:
        """The error for a listing that is not accepted."""
        return RefusedError(f"the worker catalog {clean(self.pin.url)} is refused: {reason}", hint=hint)


def require_signature(case: Case) -> None:
    """A listing without a signature could be anybody's."""
    if not case.signed.signature or not case.signed.key:
        raise case.refuse(
            "its listing is not signed", "only rbee workers serve, or a copy of it, can be used"
        )


def require_pinned_key(case: Case) -> None:
    """Somebody else's signature proves nothing."""
    if case.signed.key != case.pin.key:
        raise case.refuse(
            f"it is signed by another key than the one that is trusted ({clean(case.signed.key)[:60]})",
            f"ask who runs it; if its key was changed: rbee workers trust {clean(case.pin.url)} --key KEY",
        )


def require_genuine(case: Case) -> None:
    """Bytes that the key did not sign were changed on the way, or at the server."""
    if not signing.genuine(case.signed):
        raise case.refuse(
            "its signature does not belong to its listing, which was altered",
            "try another network, and tell who runs it",
        )


def require_same_catalog(case: Case) -> None:
    """The same key may sign other catalogs, as one for tests."""
    if case.pin.catalog and case.listing.catalog != case.pin.catalog:
        raise case.refuse(
            f"it sends the listing of another catalog ({clean(case.listing.catalog)[:40]!r})",
            f"if it was made anew: rbee workers distrust {clean(case.pin.url)}, then trust it again",
        )


def require_not_older(case: Case) -> None:
    """An old listing may offer what was since withdrawn."""
    found = case.listing.version
    if found < case.pin.version:
        raise case.refuse(
            f"its listing is of version {found}, and version {case.pin.version} was seen before",
            "somebody replays an old one, or it was restored from an old copy: ask who runs it",
        )
    if found == case.pin.version and digest(case.signed) != case.pin.digest:
        raise case.refuse(
            f"it has another listing of version {found} than the one that was seen before",
            "two servers sign with the same key, or somebody forges: ask who runs it",
        )


def require_fresh(case: Case) -> None:
    """A listing that nobody renews may be held back on purpose."""
    expires = form.parse_moment(case.listing.expires_at)
    if expires <= case.now:
        raise case.refuse(
            f"its listing expired on {form.moment(expires)}",
            "check this machine's clock; on the server rbee workers serve renews it",
        )


def require_plain_entries(case: Case) -> None:
    """Ids and file names become paths here."""
    for entry in case.listing.workers:
        if wrong := form.wrong_with(entry):
            raise case.refuse(clean(wrong), "tell who runs it")


CHECKS: tuple[Callable[[Case], None], ...] = (
    require_signature,
    require_pinned_key,
    require_genuine,
    require_same_catalog,
    require_not_older,
    require_fresh,
    require_plain_entries,
)
"""In the order in which they must come: nothing is read before it is known who signed it."""


def accept(case: Case) -> tuple[Listing, Pin]:
    """The listing, and the pin that remembers it; raises RefusedError with the reason, MetadataError."""
    for check in CHECKS:
        check(case)
    listing = case.listing
    seen = msgspec.structs.replace(
        case.pin, catalog=listing.catalog, version=listing.version, digest=digest(case.signed)
    )
    return listing, seen


def digest(signed: Signed) -> str:
    """What tells one listing from another of the same version."""
    return hashlib.sha256(signed.body).hexdigest()
