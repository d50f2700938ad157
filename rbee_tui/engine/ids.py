"""Artifact id <-> directory name: injective, reversible, safe on folding and normalising file systems.

A directory name uses lower-case letters, digits, `.`, `_` and `-` as they are; every other byte of the id's
UTF-8 form stands as `%xx`. So two ids never share a directory, even where `A` and `a` name the same one.
"""

import re

from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.text import clean

MAX_DIRECTORY_BYTES = 240  # below 255, so that a temporary name beside it still fits
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?$")
_PLAIN_ID = re.compile(
    r"(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z))[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_-])?"
)
_ESCAPE = re.compile(rb"%([0-9a-f]{2})")


def is_plain(artifact_id: str) -> bool:
    """Whether an id is its own directory name, as nearly all are; quick, for long listings."""
    return len(artifact_id) <= MAX_DIRECTORY_BYTES and _PLAIN_ID.fullmatch(artifact_id) is not None


def directory(artifact_id: str) -> str:
    """The directory name of an artifact's id; raises UsageError for an empty, too long or undecodable id."""
    if is_plain(artifact_id):
        return artifact_id
    try:
        raw = artifact_id.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the id {clean(artifact_id)!r} is not valid Unicode text") from None
    if not raw:
        raise UsageError("an id may not be empty")
    if b"\0" in raw:
        raise UsageError(f"the id {clean(artifact_id)!r} holds a NUL character")
    escaped = {0} if raw[0] in b".-" or _RESERVED.match(artifact_id) else set[int]()
    if raw[-1] == ord("."):
        escaped.add(len(raw) - 1)
    name = "".join(
        chr(byte) if byte in _PLAIN and at not in escaped else f"%{byte:02x}" for at, byte in enumerate(raw)
    )
    if len(name) > MAX_DIRECTORY_BYTES:
        raise UsageError(
            f"the id {clean(artifact_id)[:40]!r}... is too long for a directory name "
            f"({len(name)} of at most {MAX_DIRECTORY_BYTES} bytes)",
            hint="choose a shorter one with --id",
        )
    return name


def artifact_id(name: str) -> str | None:
    """The id that `directory()` turns into this name; None for a name that it never makes."""
    try:
        found = _ESCAPE.sub(lambda m: bytes([int(m.group(1), 16)]), name.encode()).decode()
        return found if directory(found) == name else None
    except (UnicodeError, UsageError):
        return None


def lock_name(artifact_id: str) -> str:
    """The part of a lock file's name that stands for an id: its directory's, or a hash where it has none."""
    try:
        return directory(artifact_id)
    except UsageError:
        return f"%{_digest(artifact_id.encode(errors='surrogatepass'))}"


def default_model_id(repo: str, path: str | None) -> str:
    """The id of a download: its file's stem in lower case, or the name of the repository when it is whole."""
    if path is None:
        stem = repo.rsplit("/", 1)[-1]
    else:
        stem = re.sub(r"\.gguf$", "", path.rsplit("/", 1)[-1], flags=re.IGNORECASE)
        stem = re.sub(r"-\d{5}-of-\d{5}$", "", stem)
    wanted = stem.strip().lower() or "model"
    try:
        directory(wanted)
    except UsageError:
        return f"model-{_digest(wanted.encode(errors='replace'))[:16]}"
    return wanted


def _digest(raw: bytes) -> str:
    import hashlib  # noqa: PLC0415 - OpenSSL, for ids that hardly anybody has

    return hashlib.sha256(raw).hexdigest()
