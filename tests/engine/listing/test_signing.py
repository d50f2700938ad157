"""Keys and signatures: made once, kept to their owner, and true for exactly the bytes that were signed."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rbee_tui.engine.errors import MetadataError, RefusedError, StorageError, UsageError
from rbee_tui.engine.listing import signing
from rbee_tui.engine.listing.signing import Signed


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key."""
    path = tmp_path / "key.pem"
    signing.make_key(path)
    return path


class TestKeys:
    def test_a_key_is_made_once_and_for_its_owner_alone(self, key: Path):
        """A second call keeps it: all clients have pinned it."""
        before = key.read_bytes()
        signing.make_key(key)
        assert key.read_bytes() == before
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert signing.require_key(f" {signing.public_key(key)}\n") == signing.public_key(key)

    def test_one_that_others_can_read_is_not_used(self, key: Path):
        """It may have been copied."""
        key.chmod(0o640)
        with pytest.raises(RefusedError, match="others may read the private key") as caught:
            signing.sign(key, b"")
        assert "chmod 600" in caught.value.hint

    def test_what_is_no_key(self, key: Path):
        """Another text, a key of another kind, nothing."""
        key.write_text("no key")
        with pytest.raises(MetadataError, match="holds no private key"):
            signing.sign(key, b"")
        other = Ed448PrivateKey.generate()
        key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with pytest.raises(MetadataError, match="not an Ed25519 one"):
            signing.sign(key, b"")
        key.unlink()
        with pytest.raises(StorageError, match="cannot read the key"):
            signing.sign(key, b"")

    @pytest.mark.parametrize(
        "text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 44, "ed25519:é", "\x1b[31m"]
    )
    def test_what_is_no_public_key(self, text: str):
        """It is refused before it is pinned, with where a real one is to be had."""
        with pytest.raises(UsageError, match="is not the key of a worker catalog") as caught:
            signing.require_key(text)
        assert "rbee workers key" in caught.value.hint
        assert "\x1b" not in str(caught.value)


class TestSignatures:
    def test_they_hold_for_these_bytes_and_this_key(self, key: Path, tmp_path: Path):
        """And for no others."""
        other = tmp_path / "other.pem"
        signing.make_key(other)
        signed = signing.sign(key, b"listing")
        assert signing.genuine(signed)
        assert not signing.genuine(signed._replace(body=b"Listing"))
        assert not signing.genuine(signed._replace(key=signing.public_key(other)))

    @pytest.mark.parametrize("text", ["", "AAAA", "é", "A" * 88, "not base64"])
    def test_nonsense_is_no_signature(self, key: Path, text: str):
        """Whatever a server sends in its place."""
        signed = signing.sign(key, b"listing")
        assert not signing.genuine(signed._replace(signature=text))
        assert not signing.genuine(Signed(b"listing", signed.signature, text))

    def test_a_signature_of_the_key_for_something_else_is_none(self, key: Path):
        """What is signed begins with what it is for."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - one use

        private = load_pem_private_key(key.read_bytes(), None)
        raw = signing._text(private.sign(b"listing"))  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        assert not signing.genuine(Signed(b"listing", raw, signing.public_key(key)))
