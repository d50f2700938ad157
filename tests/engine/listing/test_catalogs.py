"""Which catalogs are trusted, what they are asked, and what is known of them without asking."""

import socket
import stat
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.errors import MetadataError, NetworkError, NotFoundError, RefusedError, UsageError
from rbee_tui.engine.listing import catalogs
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing.catalogs import Catalogs, normal
from rbee_tui.engine.listing.store import Store
from rbee_tui.engine.paths import Root
from tests.engine.listing.support import ID, Answer, Catalog, entry, in_days
from tests.engine.workers.support import House

KEY = "ed25519:" + "A" * 43 + "="


class TestAddresses:
    @pytest.mark.parametrize(
        "text",
        [
            "machine:8787",
            "http://machine:8787/",
            " http://MACHINE:8787/workers",
            "http://machine:8787/workers/",
        ],
    )
    def test_one_spelling(self, text: str):
        """So that no catalog is trusted twice."""
        assert normal(text) == "http://machine:8787"

    def test_other_schemes_and_hosts(self):
        """TLS, and an address with colons."""
        assert normal("https://Catalog.Example") == "https://catalog.example"
        assert normal("[::1]:8787") == "http://[::1]:8787"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "ftp://machine",
            "http://",
            "http://me:pw@machine",
            "http://machine/a/b",
            "machine:port",
            "http://m?q",
        ],
    )
    def test_what_is_none(self, text: str):
        """With how one looks."""
        with pytest.raises(UsageError, match="is not the address of a worker catalog") as caught:
            normal(text)
        assert "8787" in caught.value.hint


class TestTrust:
    def test_a_pin_is_kept_to_its_owner(self, root: Root):
        """Each catalog in a file of its own."""
        trusted = Catalogs(root)
        assert trusted.trusted() == []
        known = trusted.trust("machine:8787", KEY)
        assert trusted.get("http://machine:8787") == known
        assert trusted.trust("machine:8787/", KEY) == known
        (path,) = trusted.path.glob("*.json")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert trusted.offers() == []

    def test_another_key_forgets_what_was_seen(self, trusting: House, catalog: Catalog):
        """It is another catalog, as far as anybody can tell."""
        trusted = trusting.installer.catalogs
        assert trusted.trust(catalog.url, KEY).pin == trusted.get(catalog.url).pin
        assert trusted.get(catalog.url).pin.version == 0
        with pytest.raises(UsageError):
            trusted.trust(catalog.url, "no key")

    def test_distrust(self, root: Root):
        """It is gone, and was never there a second time."""
        trusted = Catalogs(root)
        trusted.trust("machine:8787", KEY)
        trusted.distrust("machine:8787")
        for ask in (trusted.distrust, trusted.get):
            with pytest.raises(NotFoundError, match="is not trusted here") as caught:
                ask("machine:8787")
            assert "rbee workers trust" in caught.value.hint

    def test_a_file_that_cannot_be_read_is_no_trust(self, root: Root):
        """It is as if it were not there."""
        trusted = Catalogs(root)
        trusted.trust("machine:8787", KEY)
        (path,) = trusted.path.glob("*.json")
        path.write_text("{}")
        assert trusted.trusted() == []


@pytest.mark.anyio
class TestAsking:
    async def test_its_key_is_shown_before_it_is_trusted(self, house: House, catalog: Catalog):
        """Only one that fits its listing."""
        trusted = house.installer.catalogs
        assert await trusted.key_of(catalog.url) == catalog.key
        assert trusted.trusted() == []
        catalog.answers["/workers"].headers["x-rbee-key"] = KEY
        with pytest.raises(RefusedError, match="signature does not belong"):
            await trusted.key_of(catalog.url)

    async def test_what_was_seen_is_known_without_asking(self, trusting: House, catalog: Catalog):
        """Until it expires."""
        trusted = trusting.installer.catalogs
        known = await trusted.refresh(catalog.url)
        assert (known.pin.version, known.pin.catalog) == (1, catalog.listing.catalog)
        (offer,) = trusted.offers()
        assert (offer.id, offer.catalog, offer.signed_by) == (ID, catalog.url, catalog.key)
        assert ID in [each.id for each in trusting.installer.offered()]
        assert known.listing
        late = msgspec.structs.replace(known.listing, expires_at=in_days(-1))
        trusted._write(msgspec.structs.replace(known, listing=late))
        assert ID not in [each.id for each in trusting.installer.offered()]

    async def test_one_that_does_not_answer_is_passed_over(self, house: House):
        """And said; the bundled listing needs nobody."""
        house.installer.catalogs.trust("http://127.0.0.1:9", KEY)
        said: list[str] = []
        offer = await house.installer.offer("llm-worker-cpu", said.append)
        assert offer.catalog == ""
        assert "does not answer" in said[0]
        assert "passed over" in said[0]
        with pytest.raises(NetworkError, match=r"127.0.0.1:9 does not answer"):
            await house.installer.offer("llm-worker-cpu", said.append, "http://127.0.0.1:9")

    async def test_a_trusted_catalog_goes_before_the_bundled_listing(self, trusting: House, catalog: Catalog):
        """Unless that is asked for; an unknown worker names those that there are, and where."""
        catalog.offer(id="llm-worker-cpu")
        find = trusting.installer.offer
        assert (await find("llm-worker-cpu", str)).catalog == catalog.url
        assert (await find("llm-worker-cpu", str, "bundled")).catalog == ""
        with pytest.raises(NotFoundError, match="no worker 'nope'") as caught:
            await find("nope", str, catalog.url)
        assert caught.value.hint == f"there are llm-worker-cpu, at {catalog.url}"
        with pytest.raises(NotFoundError, match="is not trusted here"):
            await find("nope", str, "http://127.0.0.1:9")

    @pytest.mark.parametrize(
        ("answer", "kind", "saying"),
        [
            (Answer(404), NetworkError, "answered 404: it is no worker catalog"),
            (Answer(200, {"content-encoding": "gzip"}), RefusedError, "sends its listing encoded"),
        ],
    )
    async def test_other_servers(self, trusting: House, catalog: Catalog, answer, kind, saying: str):
        """Each is answered with what it is."""
        catalog.answers["/workers"] = answer
        with pytest.raises(kind, match=saying):
            await trusting.installer.catalogs.refresh(catalog.url)

    async def test_one_that_is_silent(self, trusting: House, catalog: Catalog, monkeypatch):
        """It has its time and no more."""
        monkeypatch.setattr(catalogs, "_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(NetworkError, match=r"did not answer within 0.2 s"):
                await trusting.installer.catalogs.key_of(url)

    @pytest.mark.parametrize(
        ("body", "saying"),
        [
            (b"[]", "Expected `object`"),
            (b"\xff", "the listing cannot be read"),
            (b"[" * 100_000, "the listing cannot be read"),
            (b'{"catalog": "c", "version": -1}', "Expected `int` >= 0"),
        ],
    )
    async def test_nonsense_that_the_key_signed(
        self, trusting: House, catalog: Catalog, body: bytes, saying: str
    ):
        """A sentence each, and no more."""
        catalog.show(catalog.sign(body))
        with pytest.raises(MetadataError, match=saying):
            await trusting.installer.catalogs.refresh(catalog.url)

    async def test_a_moment_that_is_none(self, trusting: House, catalog: Catalog):
        """Without a time zone it says nothing."""
        for moment in ("soon", "2030-01-01T00:00:00"):
            catalog.show(catalog.sign(catalog.changed(expires_at=moment)))
            with pytest.raises(MetadataError, match="is no moment in time"):
                await trusting.installer.catalogs.refresh(catalog.url)


class TestEntries:
    @pytest.mark.parametrize(
        ("changes", "saying"),
        [
            ({"sha256": "0"}, "no SHA-256"),
            ({"platforms": ()}, "for which platforms"),
            ({"platforms": ("a/b-c",)}, "for which platforms"),
            ({"version": ""}, "which version"),
            ({"runtime": "llama-server"}, "a bundle with the runtime 'llama-server'"),
            ({"filename": ".hidden"}, "could lead elsewhere"),
            ({"id": ""}, "could lead elsewhere"),
        ],
    )
    def test_what_an_entry_must_not_say(self, changes, saying: str):
        """Each with its reason."""
        assert form.wrong_with(entry()) == ""
        assert saying in form.wrong_with(entry(**changes))


def test_a_store_has_a_place_of_its_own(root: Root, tmp_path: Path):
    """Beside this machine's state."""
    assert Store.of(root).path == tmp_path / "rbee" / "state" / "catalog"
