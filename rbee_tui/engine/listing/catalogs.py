"""The worker catalogs that are trusted here: their keys, their last listings, and what they offer now."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Offer
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.errors import NetworkError, NotFoundError, RefusedError, UsageError
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing import signing, trust
from rbee_tui.engine.listing.format import Listing
from rbee_tui.engine.listing.signing import Signed
from rbee_tui.engine.listing.trust import Case, Pin
from rbee_tui.engine.paths import PRIVATE_MODE, Root, make_directory
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import clean, now

SIGNATURE_HEADER = "x-rbee-signature"
KEY_HEADER = "x-rbee-key"
_SECONDS = 20.0
_LOCK_SECONDS = 10.0
_OK = 200
_REDIRECTS = range(300, 400)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A trusted catalog: what is pinned, and its last listing that was accepted."""

    pin: Pin
    trusted_at: str
    listing: Listing | None = None
    seen_at: str | None = None

    def offers_now(self) -> list[Offer]:
        """What it offers; nothing once its listing has expired."""
        at = datetime.now(UTC)
        if self.listing is None or form.parse_moment(self.listing.expires_at) <= at:
            return []
        return [form.offer_of(entry, self.pin.url, self.pin.key) for entry in self.listing.workers]


class Catalogs:
    """The trusted catalogs of a root; one file for each, so that a pin and its listing change in one step."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.path = root.state / "catalogs"

    def trusted(self) -> list[Known]:
        """Those that are trusted, the first trusted first; a file that cannot be read is left out."""
        with storage("list", self.path):
            paths = sorted(self.path.glob("*.json")) if self.path.is_dir() else []
        found = [known for known in map(_read, paths) if known is not None]
        return sorted(found, key=lambda known: (known.trusted_at, known.pin.url))

    def get(self, url: str) -> Known:
        """A trusted catalog by its address; raises NotFoundError, UsageError."""
        address = normal(url)
        known = _read(self._file(address))
        if known is None:
            raise NotFoundError(
                f"the worker catalog {clean(address)} is not trusted here",
                hint=f"rbee workers trust {clean(address)} shows its key, and asks",
            )
        return known

    async def key_of(self, url: str) -> str:
        """The key that a catalog says it has: to be compared by a person. Raises as `refresh()` does."""
        address = normal(url)
        signed = await download(address)
        pin = Pin(url=address, key=signed.key)
        trust.accept(Case(pin=pin, signed=signed, now=datetime.now(UTC)))
        return signed.key

    def trust(self, url: str, key: str) -> Known:
        """Pin a catalog's key; another key than before forgets what was seen. Raises UsageError."""
        address, key = normal(url), signing.require_key(key)
        with self._lock():
            before = _read(self._file(address))
            if before is not None and before.pin.key == key:
                return before
            known = Known(pin=Pin(url=address, key=key), trusted_at=before.trusted_at if before else now())
            self._write(known)
        return known

    def distrust(self, url: str) -> Known:
        """Forget a catalog; workers that came from it stay. Raises NotFoundError."""
        with self._lock():
            known = self.get(url)
            with storage("remove", self._file(known.pin.url)):
                self._file(known.pin.url).unlink()
        return known

    async def refresh(self, url: str) -> Known:
        """Fetch a trusted catalog's listing and remember it.

        Raises RefusedError with the reason why it is not accepted, MetadataError, NetworkError.
        """
        signed = await download(self.get(url).pin.url)
        with self._lock():
            before = self.get(url)  # as it is under the lock: another process may have seen a newer one
            listing, pin = trust.accept(Case(pin=before.pin, signed=signed, now=datetime.now(UTC)))
            known = msgspec.structs.replace(before, pin=pin, listing=listing, seen_at=now())
            self._write(known)
        return known

    async def refresh_all(self, say: Callable[[str], None]) -> list[Offer]:
        """What all trusted catalogs offer; one that does not answer is said, and passed over.

        Raises RefusedError where one sends what is not accepted.
        """
        found: list[Offer] = []
        for known in self.trusted():
            try:
                fresh = await self.refresh(known.pin.url)
            except NetworkError as error:
                say(f"{error}; it is passed over")
            else:
                found += fresh.offers_now()
        return found

    def offers(self) -> list[Offer]:
        """What the last listings of all trusted catalogs offer; asks nobody."""
        return [offer for known in self.trusted() for offer in known.offers_now()]

    def _file(self, address: str) -> Path:
        return self.path / f"{hashlib.sha256(address.encode()).hexdigest()[:24]}.json"

    def _write(self, known: Known) -> None:
        make_directory(self.path, PRIVATE_MODE)
        durable.write(self._file(known.pin.url), msgspec.json.encode(known), mode=0o600)

    def _lock(self) -> Lock:
        return Lock(self._root.locks / "catalogs.lock", "worker catalogs").acquire(_LOCK_SECONDS)


def _read(path: Path) -> Known | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Known)
    except (OSError, *UNDECODABLE):
        return None


async def download(address: str) -> Signed:
    """A catalog's listing as it was sent, with its signature; nothing of it is believed yet.

    Raises RefusedError for a redirect, an encoding or a length that must not be, NetworkError.
    """
    from rbee_tui.engine import http  # noqa: PLC0415 - it loads httpx when it asks

    answer = await http.get_small(f"{address}/workers", form.MAX_BYTES, _SECONDS)
    if answer.status in _REDIRECTS:
        target = clean(answer.headers.get("location", "nowhere"))[:120]
        raise RefusedError(
            f"the worker catalog {clean(address)} is refused: it sends us to another server ({target})",
            hint="only the server that was named is trusted: ask who runs it",
        )
    if answer.status != _OK:
        raise NetworkError(
            f"{clean(address)} answered {answer.status}: it is no worker catalog", hint="check the address"
        )
    if len(answer.body) > form.MAX_BYTES:
        raise RefusedError(
            f"the worker catalog {clean(address)} is refused: its listing is longer than "
            f"{form.MAX_BYTES >> 20} MiB",
            hint="no catalog needs that: ask who runs it",
        )
    if answer.headers.get("content-encoding", "identity") not in ("", "identity"):
        raise RefusedError(f"the worker catalog {clean(address)} is refused: it sends its listing encoded")
    return Signed(answer.body, answer.headers.get(SIGNATURE_HEADER, ""), answer.headers.get(KEY_HEADER, ""))


def normal(url: str) -> str:
    """A catalog's address in one spelling: scheme, host and port. Raises UsageError."""
    text = url.strip()
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    path = parts.path.rstrip("/").removesuffix("/workers")
    usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username
    if not usable or parts.query or parts.fragment or path:
        raise UsageError(
            f"{clean(url)[:80]!r} is not the address of a worker catalog", hint="as http://machine:8787"
        )
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"
