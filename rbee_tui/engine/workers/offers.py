"""The bundled listing: what may be installed without a worker catalog server."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from rbee_tui.engine.artifacts import Entry, Health, Offer, Worker
from rbee_tui.engine.errors import NotFoundError
from rbee_tui.engine.text import clean


@cache
def bundled() -> tuple[Offer, ...]:
    """The offers that come with rbee; versions and hashes are pinned."""
    raw: dict[str, Any] = msgspec.json.decode(
        (files("rbee_tui.engine.workers") / "bundled.json").read_bytes()
    )
    for offer in raw["offers"]:
        offer["requirements"] = [raw["requirements"][name] for name in offer["requirements"]]
    return msgspec.convert(tuple(raw["offers"]), tuple[Offer, ...])


def still_open(entries: Sequence[Entry[Worker]]) -> list[Offer]:
    """The offers that are not installed, or whose installed worker is not well."""
    well = {entry.id for entry in entries if entry.health is Health.OK}
    return [offer for offer in bundled() if offer.id not in well]


def find(worker_id: str) -> Offer:
    """The offer with this id; raises NotFoundError with those that there are."""
    for offer in bundled():
        if offer.id == worker_id:
            return offer
    names = ", ".join(offer.id for offer in bundled())
    raise NotFoundError(f"there is no worker {clean(worker_id)!r} to install", hint=f"there are {names}")
