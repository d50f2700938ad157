"""What somebody wants of a start; what is not said is decided, or was saved for the model."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rbee_tui.engine.errors import UsageError


class Wishes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Everything that may be asked of a start; None is not said."""

    worker_id: str | None = None
    context: int | None = None
    """Tokens of all slots together."""
    port: int | None = None
    idle_seconds: int | None = None
    """Unload it when nobody asked it anything for so long; 0 never."""
    pinned: bool | None = None
    """It stays, however long nobody asks, and whatever becomes of the screen that started it."""
    restart: bool | None = None
    """Start it again when it crashes."""
    ends_with_me: bool | None = None
    """End it once the process that asks for this is gone."""


def of(said: Mapping[str, Any]) -> Wishes:
    """Wishes from their names and values; raises UsageError for one that there is not, or of another type."""
    try:
        return msgspec.convert(dict(said), Wishes)
    except msgspec.ValidationError as error:
        raise UsageError(f"that cannot be wished of a worker: {error}") from error


def over(said: Wishes, saved: Wishes) -> Wishes:
    """What was said, and what was saved where nothing was said."""
    return Wishes(
        **{
            name: value if value is not None else getattr(saved, name)
            for name, value in msgspec.structs.asdict(said).items()
        }
    )
