"""Ed25519 keys of worker catalogs. The only import of cryptography, which is slow and so comes late."""

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rbee_tui.engine import durable
from rbee_tui.engine.durable import storage
from rbee_tui.engine.errors import MetadataError, RefusedError, UsageError
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_MODE = 0o600
_KIND = "ed25519:"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
# What is signed begins with its purpose, so that no other signature of the key can be passed off as this one.
_PURPOSE = b"rbee worker catalog listing\n"


class Signed(NamedTuple):
    """The bytes of a listing with the signature over them, both as texts for a header."""

    body: bytes
    signature: str
    key: str
    """The public key, as `ed25519:` and base64: short enough to be compared by eye."""


def make_key(path: Path) -> None:
    """Make a private key where there is none; only its owner may read it."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - as above

    if path.exists():
        return
    text = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    durable.write(path, text, KEY_MODE)


def sign(path: Path, body: bytes) -> Signed:
    """Sign a listing with the private key in a file.

    Raises StorageError, MetadataError for a file that is no key, RefusedError where others may read it.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - as above

    private = _load(path)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signed(body, _text(private.sign(_PURPOSE + body)), _KIND + _text(public))


def public_key(path: Path) -> str:
    """The public key that belongs to a private one, as text; raises as `sign()` does."""
    return sign(path, b"").key


def _load(path: Path) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

    with storage("read the key", path):
        mode, text = path.stat().st_mode, path.read_bytes()
    if mode & 0o077:
        raise RefusedError(
            f"others may read the private key {clean(str(path))}",
            hint=f"if nobody has: chmod 600 {clean(str(path))}; else remove it, and begin with a new one",
        )
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError):
        raise MetadataError(f"{clean(str(path))} holds no private key") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise MetadataError(f"the key in {clean(str(path))} is not an Ed25519 one")
    return key


def genuine(signed: Signed) -> bool:
    """Whether the signature is the key's over exactly these bytes; False for texts that are neither."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above

    signature, key = _bytes(signed.signature), _key_bytes(signed.key)
    if signature is None or len(signature) != _SIGNATURE_BYTES or key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _PURPOSE + signed.body)
    except (InvalidSignature, ValueError):
        return False
    return True


def require_key(text: str) -> str:
    """A public key as it was typed; raises UsageError for what is none."""
    key = text.strip()
    if _key_bytes(key) is None:
        raise UsageError(
            f"{clean(key)[:60]!r} is not the key of a worker catalog",
            hint="it begins with ed25519: and is what rbee workers key says on the server",
        )
    return key


def _key_bytes(text: str) -> bytes | None:
    found = _bytes(text.removeprefix(_KIND)) if text.startswith(_KIND) else None
    return found if found is not None and len(found) == _KEY_BYTES else None


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
