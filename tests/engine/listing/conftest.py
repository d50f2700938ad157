"""A catalog on loopback, and a house that trusts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.engine.paths import Root
from tests.engine.listing.support import Catalog
from tests.engine.workers.support import House


@pytest.fixture
def house(root: Root) -> House:
    """A root without models and workers."""
    return House(root)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch) -> Iterator[Catalog]:
    """An honest catalog, served; tests give it its fault."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    place = tmp_path / "catalog"
    place.mkdir()
    made = Catalog(place)
    with made.serving():
        yield made


@pytest.fixture
def trusting(house: House, catalog: Catalog) -> House:
    """The house once it has pinned the catalog's key."""
    house.installer.catalogs.trust(catalog.url, catalog.key)
    return house
