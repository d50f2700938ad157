"""What processes on one root share while they download: whose turn it is, the cap, the connections."""

import time
from collections import Counter

from rbee_tui.engine import settings
from rbee_tui.engine.jobs import Record, admit, share
from rbee_tui.engine.process import Identity
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.transfer import Traffic
from rbee_tui.engine.transfer.traffic import Elsewhere

_LOOK_SECONDS = 0.5


class Sharing:
    """One process's view of the others, looked at twice a second while it downloads."""

    def __init__(self, store: JobStore, traffic: Traffic, who: Identity) -> None:
        self._store = store
        self._traffic = traffic
        self._who = who
        self._looked = float("-inf")
        self._admitted: set[str] = set()
        self._mine: set[str] = set()
        """Jobs that asked here: they count also where their note could not be written."""

    def admitted(self, job_id: str, *, fresh: bool = False) -> bool:
        """Whether a job that this process holds may move bytes now."""
        self._mine.add(job_id)
        if fresh or time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._look()
        return job_id in self._admitted

    def _look(self) -> None:
        self._looked = time.monotonic()
        unfinished = [record for record in self._store.list() if record.outcome is None]
        held: list[Record] = []
        own, others, other_jobs = 0, Counter[str](), Counter[str]()
        for record in unfinished:
            run = self._store.holder(record.id)
            if run is not None or record.id in self._mine:
                held.append(record)
            if run is not None and run.who == self._who:
                own += run.connections
            elif run is not None and run.connections:
                others[record.endpoint] += run.connections
                other_jobs[record.endpoint] += 1
        self._admitted = admit(held)
        self._traffic.throttle.rate = share(settings.read(self._store.root).cap, own, sum(others.values()))
        self._traffic.elsewhere({at: Elsewhere(count, other_jobs[at]) for at, count in others.items()})
