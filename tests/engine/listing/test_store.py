"""The server's side: publishing, signing anew, and copies without the key."""

import asyncio
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import (
    BusyError,
    MetadataError,
    NotFoundError,
    RefusedError,
    UsageError,
    WorkerError,
)
from rbee_tui.engine.listing import bundle, publishing, signing, store
from rbee_tui.engine.listing.store import Store, watcher
from rbee_tui.engine.workers import offers
from tests.engine.listing.support import ID, entry, make_bundle
from tests.engine.workers.test_install import an_offer, make_wheel, wheels

__all__ = ["wheels"]


@pytest.fixture
def shelf(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store").prepare()


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A bundle."""
    return make_bundle(tmp_path / "wheels")


def listed(shelf: Store) -> list[tuple[str, str]]:
    """What is published: ids and versions."""
    listing = shelf.listing()
    return [(each.id, each.version) for each in listing.workers] if listing else []


class TestPublish:
    def test_each_change_is_a_signed_listing_of_a_higher_version(self, shelf: Store, packed: Path):
        """An entry takes the place of the one with its id, and its file that one's."""
        assert shelf.listing() is None
        first = shelf.publish(entry(), packed)
        packed.write_bytes(packed.read_bytes() + b"\0" * 512)
        second = shelf.publish(entry(version="9.9.2"), packed)
        shelf.publish(entry(id="another"), packed)
        listing = shelf.listing()
        assert listing
        assert (listing.version, listed(shelf)) == (3, [("another", "9.9.1"), (ID, "9.9.2")])
        assert signing.genuine(shelf.signed())
        assert shelf.signed().key == shelf.key()
        assert second.size_bytes == shelf.file(second).stat().st_size
        assert not shelf.file(first).exists()
        assert [path.name for path in (shelf.path / "files").iterdir()] == [second.sha256]

    def test_what_no_client_would_take_is_not_published(self, shelf: Store, packed: Path):
        """And nothing of it stays."""
        with pytest.raises(RefusedError, match="could lead elsewhere"):
            shelf.publish(entry(filename="../x"), packed)
        assert listed(shelf) == []
        assert list((shelf.path / "files").iterdir()) == []

    def test_unpublish(self, shelf: Store, packed: Path):
        """Its file goes too; what is not there is answered with what is."""
        gone = shelf.publish(entry(), packed)
        with pytest.raises(NotFoundError, match="nope is not published") as caught:
            shelf.unpublish("nope")
        assert ID in caught.value.hint
        shelf.unpublish(ID)
        assert listed(shelf) == []
        assert not shelf.file(gone).exists()

    def test_two_publishers_do_not_lose_each_other_s_work(self, shelf: Store, packed: Path, monkeypatch):
        """One waits for the other, and says for whom where that takes long."""
        monkeypatch.setattr(store, "_LOCK_SECONDS", 0.05)
        with (
            Lock(shelf.path / "catalog.lock", "another").acquire(),
            pytest.raises(BusyError, match="another"),
        ):
            shelf.publish(entry(), packed)

    def test_it_is_this_users_alone(self, shelf: Store, packed: Path):
        """The key is in it."""
        shelf.publish(entry(), packed)
        assert stat.S_IMODE(shelf.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(shelf.key_path.stat().st_mode) == 0o600


class TestRenew:
    def test_a_listing_is_signed_anew_when_half_its_time_is_over(self, shelf: Store, packed: Path):
        """Not before; and with a higher version, since it is another one."""
        now = datetime.now(UTC)
        assert not shelf.renew(now)
        shelf.publish(entry(), packed)
        assert not shelf.renew(now + timedelta(days=14))
        assert shelf.renew(now + timedelta(days=15, minutes=1))
        listing = shelf.listing()
        assert listing
        assert (listing.version, listed(shelf)) == (2, [(ID, "9.9.1")])

    def test_a_copy_without_the_key_is_served_as_it_is(self, shelf: Store, packed: Path, tmp_path: Path):
        """It makes no key of its own, and changes nothing."""
        shelf.publish(entry(), packed)
        shutil.copytree(shelf.path, tmp_path / "copy", ignore=shutil.ignore_patterns("key.pem"))
        copy = Store(tmp_path / "copy").prepare()
        assert (copy.key(), copy.signed()) == (shelf.key(), shelf.signed())
        assert not copy.renew(datetime.now(UTC) + timedelta(days=20))
        with pytest.raises(RefusedError, match="a copy without the key"):
            copy.unpublish(ID)

    def test_a_listing_that_was_changed_by_hand_is_not_served(self, shelf: Store, packed: Path):
        """Its clients would refuse it, and should not have to."""
        shelf.publish(entry(), packed)
        path = shelf.path / "listing"
        path.write_bytes(path.read_bytes().replace(b"LAN worker", b"LAN Worker"))
        with pytest.raises(MetadataError, match="is damaged"):
            shelf.signed()

    def test_a_server_sees_what_is_published_meanwhile(self, shelf: Store, packed: Path):
        """And reads nothing while nothing changes."""
        current = watcher(shelf)
        with pytest.raises(NotFoundError, match="nothing is published"):
            current()
        shelf.publish(entry(), packed)
        first = current()
        assert current() is first
        shelf.unpublish(ID)
        assert current() != first


@pytest.mark.anyio
class TestRecipes:
    async def test_a_recipe_s_wheels_become_a_bundle(self, shelf: Store, wheels: Path):
        """By pip, as the user configured it, against the recipe's hashes."""
        lines: list[str] = []
        offer = an_offer(make_wheel(wheels, "9.9.1"))
        published = await publishing.publish_recipe(shelf, offer, (), lines.append)
        assert (published.kind, published.runtime, published.version) == ("bundle", "xllamacpp", "9.9.1")
        assert published.platforms == offer.platforms
        target = shelf.path / "out"
        target.mkdir()
        with shelf.file(published).open("rb") as file:
            found = bundle.unpack(file, "bundle", target)
        assert [path.name for path in found] == ["xllamacpp-9.9.1-py3-none-any.whl"]
        assert any("xllamacpp" in line for line in lines)
        assert not (shelf.path / "mirror").exists()

    async def test_other_bytes_than_the_recipe_s_are_not_mirrored(self, shelf: Store, wheels: Path):
        """With pip's own words."""
        make_wheel(wheels, "9.9.1")
        offer = an_offer("sha256:" + "0" * 64)
        with pytest.raises(WorkerError, match="could not be collected: pip ended with") as caught:
            await publishing.publish_recipe(shelf, offer, (), lambda line: None)
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" in caught.value.log
        assert listed(shelf) == []

    async def test_recipes_that_cannot_be_mirrored(self, shelf: Store):
        """One without packages, and a platform that it is not for."""
        cuda = offers.find("llm-worker-cuda", offers.bundled())
        with pytest.raises(RefusedError, match="cannot be published: its CUDA build"):
            await publishing.publish_recipe(shelf, cuda, (), lambda line: None)
        cpu = offers.find("llm-worker-cpu", offers.bundled())
        with pytest.raises(UsageError, match="is not for plan9-68k"):
            await publishing.publish_recipe(shelf, cpu, ("plan9-68k",), lambda line: None)

    async def test_one_at_a_time(self, shelf: Store):
        """They would take each other's wheels."""
        cpu = offers.find("llm-worker-cpu", offers.bundled())
        with Lock(shelf.path / "mirror.lock", "workers publish").acquire(), pytest.raises(BusyError):
            await asyncio.wait_for(publishing.publish_recipe(shelf, cpu, (), lambda line: None), 10)

    @pytest.mark.parametrize(
        ("platform", "tag"),
        [
            ("linux-x86_64", "manylinux_2_28_x86_64"),
            ("linux-aarch64", "manylinux2014_aarch64"),
            ("macos-aarch64", "macosx_11_0_arm64"),
        ],
    )
    def test_the_wheels_of_a_platform(self, platform: str, tag: str):
        """By the tags that pip knows them by."""
        assert tag in publishing.tags_of(platform)

    def test_no_platform(self):
        """Windows has no workers."""
        with pytest.raises(UsageError, match="is no platform"):
            publishing.tags_of("win-x86_64")
