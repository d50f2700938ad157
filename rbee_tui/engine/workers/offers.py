"""The bundled listing, which needs no server, and what of all offers is still to be installed."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from rbee_tui.engine.artifacts import Entry, Health, Offer, Worker
from rbee_tui.engine.errors import NotFoundError
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    from rbee_tui.engine.listing.catalogs import Catalogs

BUNDLED = "bundled"
"""What the bundled listing is called where a catalog's URL could stand."""


@cache
def bundled() -> tuple[Offer, ...]:
    """The offers that come with rbee; versions and hashes are pinned."""
    raw: dict[str, Any] = msgspec.json.decode(
        (files("rbee_tui.engine.workers") / "bundled.json").read_bytes()
    )
    made = [{**offer, **raw["recipes"].get(offer.get("recipe"), {})} for offer in raw["offers"]]
    return msgspec.convert(made, tuple[Offer, ...])


def first_of_each(offers: Iterable[Offer]) -> list[Offer]:
    """The offers with each id once: the first that has it."""
    found: dict[str, Offer] = {}
    for offer in offers:
        found.setdefault(offer.id, offer)
    return list(found.values())


def offered(catalogs: "Catalogs") -> list[Offer]:
    """What can be installed, as far as is known without asking anybody; each id once."""
    return first_of_each([*catalogs.offers(), *bundled()])


def still_open(entries: Sequence[Entry[Worker]], offers: Sequence[Offer]) -> list[Offer]:
    """The offers that are not installed, or whose installed worker is not well."""
    well = {entry.id for entry in entries if entry.health is Health.OK}
    return [offer for offer in offers if offer.id not in well]


def find(worker_id: str, offers: Iterable[Offer]) -> Offer:
    """The first offer with this id; raises NotFoundError with those that there are."""
    known = list(offers)
    for offer in known:
        if offer.id == worker_id:
            return offer
    names = ", ".join(clean(offer.id) for offer in first_of_each(known)) or "none"
    raise NotFoundError(f"there is no worker {clean(worker_id)!r} to install", hint=f"there are {names}")
