"""The models as their pane lists them: arranged once, and then only what is under way is put in anew."""

from collections.abc import Sequence
from itertools import compress
from typing import Any, TypeVar

from rbee_tui.engine.artifacts import Entry, Health, Model
from rbee_tui.ui.house import House
from rbee_tui.ui.lines import ModelLines, models_under_way
from rbee_tui.ui.sorting import Order

LineT = TypeVar("LineT")
_HERE = (Health.OK, Health.DAMAGED)


class ModelList:
    """The lines of the models; while a download goes on, it costs its own line and not those of all.

    What a filter looks for in a line is put together once: a letter that is typed costs a search in it.
    """

    def __init__(self) -> None:
        self.held = 0
        """Bytes of the models that are here; of one that is coming what has come."""
        self._whole = 0
        self._coming: set[str] = set()
        self._models: list[Entry[Model]] | None = None
        self._arranged: tuple[Any, ...] = ()
        self._words: tuple[str, ...] = ()
        self._all: list[Entry[Model]] = []
        self._found: list[Entry[Model]] = []
        self._texts: list[str] = []

    def lines(self, house: House, order: Order, words: Sequence[str]) -> ModelLines:
        """The lines that have all these words, in this order; they stay as they are."""
        under_way = models_under_way(house)
        # All that an order looks at, the entries aside.
        arranged = (order, {model_id: bool(each[1]) for model_id, each in under_way.items()})
        anew = self._models is not house.models or self._arranged != arranged
        if anew:
            self._all = [line.entry for line in order.sorted(ModelLines(house.models, under_way))]
            self._arranged = arranged
            self._texts = []
        if anew or self._words != tuple(words):
            self._found = self._matching(words)
            self._words = tuple(words)
        if self._models is not house.models:
            self._models = house.models
            here = [entry for entry in house.models if entry.health in _HERE]
            self._whole = sum(entry.artifact.size_bytes for entry in here if entry.artifact)
            self._coming = {entry.id for entry in house.models if entry.health not in _HERE}
        jobs = [job for job, *_ in under_way.values() if job is not None and job.model_id in self._coming]
        self.held = self._whole + sum(job.downloaded for job in jobs)
        return ModelLines(self._found, under_way)

    def _matching(self, words: Sequence[str]) -> list[Entry[Model]]:
        if not words:
            self._texts = []
            return self._all
        self._texts = self._texts or [_text_of_model(entry) for entry in self._all]
        found, texts = self._all, self._texts
        for word in words:
            hits = [word in text for text in texts]
            found, texts = list(compress(found, hits)), list(compress(texts, hits))
        return found


def matching(lines: list[LineT], words: Sequence[str]) -> list[LineT]:
    """The lines that have all these words, which are in lower case."""
    return [line for line in lines if all(word in _text_of(line) for word in words)] if words else lines


def _text_of(line: Any) -> str:
    """What a filter looks for in a line of another pane."""
    entry = getattr(line, "entry", None)
    return f"{line.key} {entry.health if entry else ''}".casefold()


def _text_of_model(entry: Entry[Model]) -> str:
    model = entry.artifact
    said = f" {model.quantization or ''} {model.repo or ''}" if model else ""
    return f"{entry.id} {entry.health}{said}".casefold()
