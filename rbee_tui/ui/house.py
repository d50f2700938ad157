"""What the screen knows: the latest of what the engine told, and what is going on in this screen."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rbee_tui.engine.artifacts import Entry, Model, Worker
from rbee_tui.engine.board import Changes
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.jobs import JobProgress, State
from rbee_tui.engine.settings import Settings
from rbee_tui.engine.workers.deaths import Death
from rbee_tui.engine.workers.record import RunningWorker

if TYPE_CHECKING:
    from rbee_tui.engine.updates import Update

MOVING: frozenset[State] = frozenset({"queued", "running", "pausing"})
_RANK: dict[State, int] = {
    "running": 0,
    "pausing": 0,
    "not responding": 0,
    "queued": 1,
    "paused": 2,
    "interrupted": 2,
    "foreign": 2,
    "failed": 3,
    "done": 4,
    "cancelled": 5,
}


@dataclass
class Activity:
    """Something that this screen has asked for and that is not over: an install, a start, a verification."""

    verb: str
    """As `installing`, `starting`, `verifying`."""
    id: str
    share: float | None = None
    """How much of it is done, from 0 to 1; None where nobody knows."""
    give_up: Callable[[], object] | None = None
    """Ends it; None where it has to come to its own end."""


@dataclass
class House:
    """The latest values; `take` brings in what changed."""

    models: list[Entry[Model]] = field(default_factory=list[Entry[Model]])
    workers: list[Entry[Worker]] = field(default_factory=list[Entry[Worker]])
    running: list[RunningWorker] = field(default_factory=list[RunningWorker])
    deaths: list[Death] = field(default_factory=list[Death])
    """The workers that ended by themselves, by model."""
    jobs: dict[str, JobProgress] = field(default_factory=dict[str, JobProgress])
    reading: Reading | None = None
    settings: Settings = field(default_factory=Settings)
    promised: int = 0
    """Bytes of disk that unfinished downloads will still take."""
    known: set[str] = field(default_factory=set[str])
    """Which values have come at all: before that a pane is not empty, it is not read yet."""
    newer: "dict[str, Update]" = field(default_factory=dict[str, "Update"])
    """Models that had newer files at the Hub when it was asked last."""
    activities: dict[str, Activity] = field(default_factory=dict[str, Activity])

    def take(self, changes: Changes) -> set[str]:
        """Bring in what is new; returns the names of the values that it touched."""
        touched: set[str] = set()
        stopped = {fact.id for fact in changes.facts if fact.kind == "worker.stopped"}
        if stopped:  # what is said to be stopped must not be said to run until the next look
            self.running = [each for each in self.running if each.model not in stopped]
            touched.add("running")
        for key, value in changes.latest.items():
            if key.startswith("job:"):
                self.jobs[key.removeprefix("job:")] = value
                touched.add("jobs")
            else:
                setattr(self, key, value)
                touched.add(key)
        if "models" in touched and self.newer:
            there = {each.id: each.artifact.revision for each in self.models if each.artifact}
            self.newer = {key: each for key, each in self.newer.items() if there.get(key) == each.commit}
        self.known |= touched
        return touched

    def job_of(self, model_id: str) -> JobProgress | None:
        """The unfinished download of a model, the last one where there are several."""
        found = [job for job in self.jobs.values() if job.model_id == model_id and not job.is_over]
        return found[-1] if found else None

    def running_on(self, model_id: str) -> RunningWorker | None:
        """The worker that runs on a model."""
        return next((each for each in self.running if each.model == model_id), None)

    def model(self, model_id: str) -> Entry[Model] | None:
        """The catalog's entry of a model."""
        return next((entry for entry in self.models if entry.id == model_id), None)

    def listed_jobs(self) -> list[JobProgress]:
        """The downloads as the pane lists them: those that move, wait, stand still, failed, are done."""
        shown = [job for job in self.jobs.values() if job.state != "cancelled"]
        return sorted(shown, key=lambda job: (_RANK[job.state], _newest_first(job)))

    def moving_jobs(self) -> list[JobProgress]:
        """The downloads that run or wait for their turn."""
        return [job for job in self.jobs.values() if job.state in MOVING]


def _newest_first(job: JobProgress) -> tuple[int, ...]:
    """Ended downloads by time, the newest first; the others stay as they came."""
    if job.state not in ("done", "failed"):
        return ()
    return tuple(-ord(character) for character in job.created_at)


def total_rate(jobs: Iterable[JobProgress]) -> float:
    """Bytes per second of all downloads together."""
    return sum(job.rate for job in jobs)
