"""What the screen says of what happens: on its line of narration, and kept among the events."""

from collections.abc import Callable
from dataclasses import dataclass

from rbee_tui.engine.facts import Fact
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.headroom import warning
from rbee_tui.engine.text import clean

_KEPT = 500
_STYLES = {
    "job.done": "ok",
    "job.failed": "wrong",
    "model.damaged": "wrong",
    "model.verified": "ok",
    "worker.crashed": "wrong",
    "worker.failed": "wrong",
    "worker.installed": "ok",
    "worker.ready": "ok",
}
_QUIET_FACTS = frozenset({"model.updated", "worker.updated", "model.added", "worker.added"})


@dataclass(frozen=True)
class Event:
    """Something that was said."""

    clock: str
    text: str
    style: str
    """`ok`, `busy`, `wrong` or `quiet`."""
    hint: str = ""
    log: str = ""
    passing: bool = False
    """Whether it says that something is under way."""


class Telling:
    """Says what happens, and keeps the latest of it."""

    def __init__(self, clock: Callable[[], str], show: Callable[[Event | None], None]) -> None:
        self.events: list[Event] = []
        self._clock = clock
        self._show = show
        self._told_elsewhere: set[tuple[str, str]] = set()
        self._disk_is_low = False

    @property
    def latest(self) -> Event | None:
        """What was said last."""
        return self.events[-1] if self.events else None

    def say(self, text: str, style: str, *, hint: str = "", log: str = "", passing: bool = False) -> None:
        """Say what just happened, unless that was said last; what is `passing` can be taken back."""
        if self.latest is not None and self.latest.text == text:
            return
        event = Event(self._clock(), text, style, hint, log, passing)
        self.events = [*self.events, event][-_KEPT:]
        self._show(event)

    def take_back(self) -> None:
        """Say no more that something is under way, where that was said last."""
        if self.latest is not None and self.latest.passing:
            self.events = self.events[:-1]
            self._show(None)

    def leave_to_flow(self, model_id: str, *kinds: str) -> None:
        """The next facts of these kinds about a model are told by the flow that brings them about."""
        self._told_elsewhere = {each for each in self._told_elsewhere if each[1] != model_id}
        self._told_elsewhere |= {(kind, model_id) for kind in kinds}

    def of_fact(self, fact: Fact) -> None:
        """Say what the engine tells."""
        if (fact.kind, fact.id) in self._told_elsewhere:
            self._told_elsewhere.discard((fact.kind, fact.id))
        elif fact.text and fact.kind not in _QUIET_FACTS:
            self.say(clean(fact.text), _STYLES.get(fact.kind, "quiet"))

    def of_room(self, reading: Reading | None, promised: int) -> None:
        """Say once that the disk is about to be full, and again when it was better in between."""
        if reading is None:
            return
        said = warning(reading.disk.free, reading.disk.total, promised)
        if said and not self._disk_is_low:
            self.say(f"the disk: {said}   (D: what takes room)", "wrong", hint="D shows what takes room")
        self._disk_is_low = bool(said)
