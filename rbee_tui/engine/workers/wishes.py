"""What somebody wants of a start; what is not said is decided, or was saved for the model."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rbee_tui.engine.addresses import address
from rbee_tui.engine.errors import UsageError
from rbee_tui.engine.spans import span
from rbee_tui.engine.text import clean


class Wishes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Everything that may be asked of a start; None is not said."""

    worker_id: str | None = None
    context: int | None = None
    """Tokens of all slots together."""
    host: str | None = None
    """The address to listen on; loopback where nothing is said."""
    key: bool | None = None
    """Need a key of whoever asks; False on loopback alone."""
    port: int | None = None
    device: str | None = None
    """`GPU0`, `all` or `CPU`."""
    gpu_layers: int | None = None
    """Layers on the GPU; 0 puts all on the CPU."""
    threads: int | None = None
    slots: int | None = None
    """Requests that are answered at once, each with its part of the context."""
    embeddings: bool | None = None
    """Answer with embeddings, too."""
    projector: bool | None = None
    """See and hear, where the model has a projector; False leaves it out."""
    idle_seconds: int | None = None
    """Unload it when nobody asked it anything for so long; 0 never."""
    pinned: bool | None = None
    """It stays, however long nobody asks, and whatever becomes of the screen that started it."""
    restart: bool | None = None
    """Start it again when it crashes."""
    ends_with_me: bool | None = None
    """End it once the process that asks for this is gone."""


NOTHING = Wishes()
_OPTIONS = {"worker_id": "worker", "idle_seconds": "idle", "pinned": "pin", "ends_with_me": "end-with-me"}


def of(said: Mapping[str, Any]) -> Wishes:
    """Wishes from their names and values; raises UsageError for what is none, or makes no sense."""
    try:
        found = msgspec.convert(dict(said), Wishes)
    except msgspec.ValidationError as error:
        raise UsageError(f"that cannot be wished of a worker: {error}") from error
    for name, least in (("context", 1), ("gpu_layers", 0), ("threads", 1), ("slots", 1), ("idle_seconds", 0)):
        value = getattr(found, name)
        if value is not None and value < least:
            raise UsageError(f"{name.replace('_', ' ')} cannot be {value}", hint=f"{least} is the least")
    return found if found.host is None else msgspec.structs.replace(found, host=str(address(found.host)))


def told(wished: Wishes) -> str:
    """Wishes as the options of `rbee start` that say them."""
    words: list[str] = []
    for name, value in msgspec.structs.asdict(wished).items():
        option = _OPTIONS.get(name, name.replace("_", "-"))
        if value is True or value is False:
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            words.append(f"--{option} {span(value) if name == 'idle_seconds' else value}")
    return clean(" ".join(words))


def over(said: Wishes, saved: Wishes) -> Wishes:
    """What was said, and what was saved where nothing was said."""
    wished = {name: value for name, value in msgspec.structs.asdict(said).items() if value is not None}
    return msgspec.structs.replace(saved, **wished)
