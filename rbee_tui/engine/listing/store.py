"""What a catalog server serves: a signed listing and the files that it names, in one directory.

The directory can be copied, without its key too: then its listing is served as it is, until it expires.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.errors import MetadataError, NotFoundError, RefusedError
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing import signing
from rbee_tui.engine.listing.format import Listing, Published
from rbee_tui.engine.listing.signing import Signed
from rbee_tui.engine.paths import PRIVATE_MODE, Root, make_directory, sync_directory
from rbee_tui.engine.text import clean

_FILE_MODE = 0o644
_LOCK_SECONDS = 60.0


class Store:
    """A directory with a listing, its key and its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key_path = path / "key.pem"
        self._listing = path / "listing"

    @classmethod
    def of(cls, root: Root) -> "Store":
        """The store of a root: its key is this machine's own, as all of its state is."""
        return cls(root.state / "catalog")

    def prepare(self) -> "Store":
        """Make the directory and its key where they are missing."""
        make_directory(self.path, PRIVATE_MODE)
        make_directory(self._files, PRIVATE_MODE)
        with self._lock("key"):
            if not self._listing.exists():
                signing.make_key(self.key_path)
        return self

    def key(self) -> str:
        """The public key; of a copy without the private one, the key that signed its listing."""
        if self.key_path.exists():
            return signing.public_key(self.key_path)
        return self.signed().key

    def signed(self) -> Signed:
        """The listing as it is served; raises NotFoundError, MetadataError."""
        if not self._listing.exists():
            raise NotFoundError(
                f"nothing is published in {clean(str(self.path))}",
                hint="rbee workers publish publishes a worker",
            )
        with storage("read", self._listing):
            raw = self._listing.read_bytes()
        head, _, body = raw.partition(b"\n")
        key, _, signature = head.decode("ascii", errors="replace").partition(" ")
        signed = Signed(body, signature, key)
        if not signing.genuine(signed):
            raise MetadataError(
                f"{clean(str(self._listing))} is damaged: its signature does not belong to it",
                hint="remove it and publish again; clients have to trust the catalog again",
            )
        return signed

    def listing(self) -> Listing | None:
        """What is published; None where nothing ever was. Raises MetadataError."""
        return form.decode(self.signed().body) if self._listing.exists() else None

    def file(self, entry: Published) -> Path:
        """Where the file of an entry is: its name is its hash."""
        return self._files / entry.sha256

    def publish(self, entry: Published, source: Path) -> Published:
        """Take a file in and list it, in the place of what had its id; size and hash are found out.

        Raises RefusedError for an entry that no client would accept, StorageError, NoSpaceError.
        """
        from rbee_tui.engine.imports import copy  # noqa: PLC0415 - a server copies nothing

        temporary = self._files / f".{secrets.token_hex(8)}.tmp"
        with self._lock("publish"):
            for left in self._files.glob(".*.tmp"):
                left.unlink(missing_ok=True)
            try:
                digest = copy(source, temporary)
                entry = msgspec.structs.replace(entry, size_bytes=temporary.stat().st_size, sha256=digest)
                if wrong := form.wrong_with(entry):
                    raise RefusedError(f"{clean(entry.id)[:120]} cannot be published: {clean(wrong)}")
                with storage("publish", self.file(entry)):
                    temporary.replace(self.file(entry))
                    sync_directory(self._files)
            finally:
                temporary.unlink(missing_ok=True)
            others = tuple(each for each in self._entries() if each.id != entry.id)
            self._sign((*others, entry))
            self._sweep()
        return entry

    def unpublish(self, worker_id: str) -> Published:
        """Take a worker off the listing, and its file away; raises NotFoundError."""
        with self._lock("unpublish"):
            entries = self._entries()
            gone = next((each for each in entries if each.id == worker_id), None)
            if gone is None:
                names = ", ".join(each.id for each in entries) or "nothing"
                raise NotFoundError(f"{clean(worker_id)} is not published", hint=f"there is {names}")
            self._sign(tuple(each for each in entries if each is not gone))
            self._sweep()
        return gone

    def renew(self, now: datetime) -> bool:
        """Sign the listing anew when half of its time has gone; False where that is not due, or no key."""
        listing = self.listing()
        if listing is None or not self.key_path.exists() or not form.is_half_spent(listing, now):
            return False
        with self._lock("renew"):
            self._sign(self._entries())
        return True

    @property
    def _files(self) -> Path:
        return self.path / "files"

    def _entries(self) -> tuple[Published, ...]:
        listing = self.listing()
        return listing.workers if listing else ()

    def _sign(self, entries: tuple[Published, ...]) -> None:
        if not self.key_path.exists():
            raise RefusedError(
                f"{clean(str(self.path))} is a copy without the key: its listing cannot be changed here",
                hint="publish where the key is, and copy the directory again",
            )
        listing = form.next_listing(self.listing(), secrets.token_hex(8), entries, datetime.now(UTC))
        signed = signing.sign(self.key_path, form.encode(listing))
        durable.write(self._listing, f"{signed.key} {signed.signature}\n".encode() + signed.body, _FILE_MODE)

    def _sweep(self) -> None:
        """Remove the files that the listing does not name any more; who is sending one goes on to its end."""
        named = {each.sha256 for each in self._entries()}
        with storage("clean up", self._files):
            for path in self._files.iterdir():
                if path.name not in named:
                    path.unlink(missing_ok=True)

    def _lock(self, verb: str) -> Lock:
        return Lock(self.path / "catalog.lock", f"workers {verb}").acquire(_LOCK_SECONDS)


def watcher(store: Store) -> Callable[[], Signed]:
    """The listing whenever it is asked for, read again only after it was replaced."""
    seen: list[tuple[tuple[int, int], Signed]] = []

    def current() -> Signed:
        with storage("read", store.path):
            found = (store.path / "listing").stat() if (store.path / "listing").exists() else None
        stamp = (found.st_ino, found.st_mtime_ns) if found else (0, 0)
        if not seen or seen[0][0] != stamp:
            seen[:] = [(stamp, store.signed())]
        return seen[0][1]

    return current
