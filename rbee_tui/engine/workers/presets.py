"""Wishes that are saved for a model, in `state/presets.json`: its next starts have them untold."""

from collections.abc import Mapping

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.paths import Root
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.workers.wishes import NOTHING, Wishes

_LOCK_SECONDS = 10.0


class Presets:
    """The presets of one root, by model."""

    def __init__(self, root: Root) -> None:
        self._path = root.state / "presets.json"
        self._lock = root.locks / "records.lock"

    def all(self) -> Mapping[str, Wishes]:
        """Every preset; none where the file is absent or damaged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Wishes])
        except (OSError, *UNDECODABLE):
            return {}

    def read(self, model_id: str) -> Wishes:
        """What is saved for a model; nothing where nothing is."""
        return self.all().get(model_id, NOTHING)

    def save(self, model_id: str, wished: Wishes) -> None:
        """Save wishes for a model in the place of those that were; no wish at all forgets them.

        What is true of one start alone, to end with whoever asked, is left out.
        """
        kept = msgspec.structs.replace(wished, ends_with_me=None)
        with Lock(self._lock, "preset").acquire(_LOCK_SECONDS):
            every = {key: value for key, value in self.all().items() if key != model_id}
            if kept != NOTHING:
                every[model_id] = kept
            durable.write(self._path, msgspec.json.encode(every), mode=0o600)
