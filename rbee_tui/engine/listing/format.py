"""What a listing says: its entries and the envelope around them, as JSON. All pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from rbee_tui.engine.artifacts import Count, Offer, OfferFile, WorkerType
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import clean

MAX_BYTES = 4 << 20
"""A longer listing is not read to its end."""
VALID_DAYS = 30
BINARY_RUNTIME = "llama-server"
_ID = re.compile(r"[a-z0-9-]{1,100}")
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLATFORM = re.compile(r"[a-z0-9]{1,20}-[a-z0-9_]{1,20}")
Kind = Literal["binary", "bundle"]


class Published(msgspec.Struct, kw_only=True, frozen=True):
    """A worker that a catalog server has: always a file, a binary or a bundle of wheels."""

    id: str
    name: str
    version: str
    description: str = ""
    license: str = ""
    worker_type: WorkerType
    platforms: tuple[str, ...]
    """As `linux-x86_64`."""
    architectures: tuple[str, ...] = ()
    """The processors among them, as `x86_64`."""
    capabilities: tuple[str, ...] = ("text-generation",)
    runtime: str
    size_bytes: Count
    sha256: str
    filename: str
    kind: Kind
    cpu_features: tuple[str, ...] = ()
    """Features, as in /proc/cpuinfo, without which it dies of SIGILL."""


class Listing(msgspec.Struct, kw_only=True, frozen=True):
    """All that a catalog offers, as of a version that only rises and until a moment."""

    catalog: str
    """Its own random name: a listing of another catalog with the same key is not this one's."""
    version: Count
    created_at: str
    expires_at: str
    workers: tuple[Published, ...]


def encode(listing: Listing) -> bytes:
    """The bytes that are signed and sent."""
    return msgspec.json.encode(listing)


def decode(body: bytes) -> Listing:
    """A listing from its bytes; raises MetadataError that says what is wrong with it."""
    try:
        return msgspec.json.decode(body, type=Listing)
    except UNDECODABLE as error:
        raise MetadataError(f"the listing cannot be read: {error}") from None


def is_id(text: str) -> bool:
    """Whether a worker may be called so."""
    return _ID.fullmatch(text) is not None


def is_filename(text: str) -> bool:
    """Whether this is the plain name of a file, with no path in it."""
    return _FILENAME.fullmatch(text) is not None


def wrong_with(entry: Published) -> str:
    """What an entry must not say, as a clause; empty when it is as it should be."""
    if not is_id(entry.id):
        return f"it lists a worker whose id is {entry.id[:120]!r}, which could lead elsewhere"
    if not is_filename(entry.filename):
        return f"it gives {entry.id} the file name {entry.filename[:120]!r}, which could lead elsewhere"
    if not _SHA256.fullmatch(entry.sha256):
        return f"it gives no SHA-256 for {entry.id}"
    if not entry.version or not entry.platforms or not all(map(_PLATFORM.fullmatch, entry.platforms)):
        return f"it does not say which version {entry.id} is, or for which platforms"
    if (entry.kind == "binary") != (entry.runtime == BINARY_RUNTIME):
        return f"it offers {entry.id} as a {entry.kind} with the runtime {entry.runtime[:40]!r}"
    return ""


def offer_of(entry: Published, catalog_url: str, key: str) -> Offer:
    """An entry as an offer that can be chosen and installed."""
    return Offer(
        id=entry.id,
        name=clean(entry.name),
        version=clean(entry.version),
        worker_type=entry.worker_type,
        runtime=entry.runtime,
        platforms=entry.platforms,
        capabilities=entry.capabilities,
        description=clean(entry.description),
        license=clean(entry.license),
        size_bytes=entry.size_bytes,
        cpu_features=entry.cpu_features,
        catalog=catalog_url,
        signed_by=key,
        file=OfferFile(
            name=entry.filename, size_bytes=entry.size_bytes, sha256=entry.sha256, kind=entry.kind
        ),
    )


def moment(at: datetime) -> str:
    """A moment as a listing writes it: RFC 3339 in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_moment(text: str) -> datetime:
    """A moment that a listing names; raises MetadataError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise MetadataError(f"the listing cannot be read: {text[:40]!r} is no moment in time")
    return found


def next_listing(
    before: Listing | None,
    catalog: str,
    workers: tuple[Published, ...],
    now: datetime,
) -> Listing:
    """The listing after `before` (None: the first), of a higher version."""
    return Listing(
        catalog=before.catalog if before else catalog,
        version=before.version + 1 if before else 1,
        created_at=moment(now),
        expires_at=moment(now + timedelta(days=VALID_DAYS)),
        workers=tuple(sorted(workers, key=lambda entry: entry.id)),
    )


def is_half_spent(listing: Listing, now: datetime) -> bool:
    """Whether a listing should be signed anew, long before it expires under its readers."""
    created, expires = parse_moment(listing.created_at), parse_moment(listing.expires_at)
    return now >= created + (expires - created) / 2
