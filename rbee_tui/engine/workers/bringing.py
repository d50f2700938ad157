"""The file of a catalog server's offer: fetched as models are, and compared with its listing once more."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from rbee_tui.engine import transfer
from rbee_tui.engine.artifacts import Offer, OfferFile
from rbee_tui.engine.durable import storage
from rbee_tui.engine.errors import IntegrityError
from rbee_tui.engine.paths import SHARED_MODE, Root, make_directory
from rbee_tui.engine.text import clean, size
from rbee_tui.engine.transfer.source import Progress, Source

_SAY_SECONDS = 1.0


async def bring(offer: Offer, file: OfferFile, target: Path, root: Root, say: Callable[[str], None]) -> None:
    """Fetch the file of an offer; one that was begun before goes on. Cancelled, it keeps what has come.

    Raises IntegrityError for other bytes than the listing names, RefusedError, NetworkError, NoSpaceError.
    """
    source = source_of(offer, file)
    part = _part_directory(root) / transfer.part_name(offer.id, source)
    stop, progress = threading.Event(), Progress(file.size_bytes)
    fetching = asyncio.ensure_future(
        asyncio.to_thread(
            transfer.fetch,
            source,
            part=part,
            target=target,
            token=None,
            stop=stop,
            progress=progress,
            lock=root.locks / f"worker-file-{file.sha256[:32]}.lock",
        )
    )
    try:
        while not fetching.done():
            await asyncio.wait([fetching], timeout=_SAY_SECONDS)
            say(f"{clean(file.name)}: {size(progress.kept + progress.received)} of {size(file.size_bytes)}")
    finally:
        stop.set()
        await asyncio.gather(fetching, return_exceptions=True)
        transfer.blocks_path(target).unlink(missing_ok=True)
    fetching.result()


def source_of(offer: Offer, file: OfferFile) -> Source:
    """Where the file of an offer is, and what it must be."""
    return Source(
        endpoint=offer.catalog,
        repo=urlsplit(offer.catalog).netloc,
        revision=offer.version,
        path=file.name,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        url=f"{offer.catalog}/workers/{offer.id}/download",
    )


@contextmanager
def proven(path: Path, file: OfferFile) -> Generator[BinaryIO]:
    """A file, opened once and compared with its hash, so that what is read then is what was compared.

    Raises IntegrityError.
    """
    with storage("read", path), path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
            raise IntegrityError(
                f"{clean(file.name)} is refused: it does not match the SHA-256 in the signed listing",
                hint="install it again; if that does not help, tell who runs the catalog",
            )
        opened.seek(0)
        yield opened


def _part_directory(root: Root) -> Path:
    """Where the arriving file lies: a rename takes it to the workers, so on their file system."""
    if root.workers.stat().st_dev == root.tmp.stat().st_dev:
        return root.tmp
    return make_directory(root.workers / ".part", SHARED_MODE)
