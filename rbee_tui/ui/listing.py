"""The models as their pane lists them: arranged once, and then only what is under way is put in anew."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rbee_tui.engine.artifacts import Health
from rbee_tui.ui.house import House
from rbee_tui.ui.lines import ModelLine, model_lines, models_under_way
from rbee_tui.ui.sorting import Order

if TYPE_CHECKING:
    from rbee_tui.engine.artifacts import Entry, Model

LineT = TypeVar("LineT")
_ABSENT = (Health.MISSING, Health.BROKEN)


class ModelList:
    """The lines of the models; while a download goes on, it costs its own line and not those of all."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of the models that are there."""
        self._models: list[Entry[Model]] | None = None
        self._arranged: tuple[Any, ...] = ()
        self._lines: list[ModelLine] = []
        self._at: dict[str, int] = {}

    def lines(self, house: House, order: Order, words: Sequence[str]) -> list[ModelLine]:
        """The lines that have all these words, in this order; a list that stays as it is."""
        under_way = models_under_way(house)
        # All that an order or a filter looks at, the entries aside.
        arranged = (order, tuple(words), {model_id: bool(each[1]) for model_id, each in under_way.items()})
        if self._models is not house.models or self._arranged != arranged:
            self._lines = list(order.sorted(matching(model_lines(house), words)))
            self._at = {line.key: at for at, line in enumerate(self._lines) if line.key in under_way}
            self._arranged = arranged
        else:
            self._lines = self._lines.copy()
            for model_id, at in self._at.items():
                self._lines[at] = ModelLine(self._lines[at].entry, *under_way[model_id])
        if self._models is not house.models:
            self._models = house.models
            self.held = sum(
                entry.artifact.size_bytes
                for entry in house.models
                if entry.artifact and entry.health not in _ABSENT
            )
        return self._lines


def matching(lines: list[LineT], words: Sequence[str]) -> list[LineT]:
    """The lines that have all these words, which are in lower case."""
    return [line for line in lines if all(word in _text_of(line) for word in words)] if words else lines


def _text_of(line: Any) -> str:
    """What a filter looks for in a line."""
    key = str(line.key).casefold()
    entry = getattr(line, "entry", None)
    model = entry.artifact if entry is not None else None
    more = [
        entry.health if entry else "",
        getattr(model, "quantization", "") or "",
        getattr(model, "repo", "") or "",
    ]
    return " ".join([key, *map(str, more)]).casefold()
