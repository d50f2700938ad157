"""The names of a transfer's files: the arriving part, its journal, the block digests beside the target."""

import hashlib
import re
from pathlib import Path

from rbee_tui.engine.transfer.source import Source

_MAX_NAME_BYTES = 255
_FOREIGN = re.compile(r"[^a-z0-9._-]+")


def part_name(model_dir: str, source: Source) -> str:
    """The name of the arriving file; it stays when the content changes, and ends in `.part`."""
    proof = hashlib.sha256(f"{model_dir}\0{source.repo}\0{source.path}".encode(errors="replace"))
    model, file = (_plain(text) for text in (model_dir, source.path.rsplit("/", 1)[-1]))
    return f"{model[:60]}.{file[:80]}.{proof.hexdigest()[:16]}.part"


def _plain(text: str) -> str:
    return _FOREIGN.sub("_", text.lower()).lstrip(".") or "_"


def journal_path(part: Path) -> Path:
    """The journal beside an arriving file."""
    return part.with_name(f"{part.name}.journal")


def blocks_path(target: Path) -> Path:
    """The block digests beside a published file: hidden, so that they travel with its directory."""
    name = f".{target.name}.blocks"
    if len(name.encode(errors="surrogateescape")) > _MAX_NAME_BYTES:
        short = hashlib.sha256(target.name.encode(errors="surrogateescape")).hexdigest()[:32]
        name = f".{short}.blocks"
    return target.with_name(name)
