"""Dead workers: what they left is cleared away, and how they ended is written down and told."""

from contextlib import suppress
from pathlib import Path

from rbee_tui.engine.errors import RbeeError, WorkerError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers import deaths, ending, ready
from rbee_tui.engine.workers.certificates import Certificates
from rbee_tui.engine.workers.deaths import Death
from rbee_tui.engine.workers.record import Records, Running, living
from rbee_tui.engine.workers.starting import Starter


class Undertaker:
    """Buries the workers of one root."""

    def __init__(self, root: Root, starter: Starter, facts: Facts) -> None:
        self._records = Records(root)
        self.certificates = Certificates(root)
        self._starter = starter
        self._facts = facts

    def bury(self, record: Running) -> None:
        """Clear away what a dead worker left; one that is just being started is left alone."""
        lock = self._records.start_lock(record.model)
        if not lock.try_acquire():
            return
        with lock:
            again = self._records.read(record.model)
            if again is None or again.cookie != record.cookie or living(again):
                return
            ending.sweep(record.cookie)
            death = self.certify(record) if record.wanted == "running" else None
            if death is not None:
                self.certificates.write(death)
            self._records.forget(record)
        if death is not None and not death.in_order:  # the keeper told of those
            self._tell_failed(record, death.sentence)

    def told(self, record: Running) -> Death:
        """What its note and its log tell of how a runtime ended; looks at nothing else."""
        note = self._records.ending(record)
        log = ready.read_log(Path(record.log), record.log_from)
        return deaths.certify(
            record.model, record.worker, note, log, context=record.context, idle=record.idle_seconds
        )

    def certify(self, record: Running) -> Death:
        """The death certificate of a start, with what would fit where memory was the matter."""
        death = self.told(record)
        if death.cause not in deaths.OF_MEMORY:
            return death
        return deaths.with_retry(death, self._starter.fitting_context(record.model, record.context // 2))

    def failed(self, record: Running, why: str) -> RbeeError:
        """The error of a start that came to nothing; what it left is cleared away."""
        again = self._records.read(record.model)
        stopped = again is None or again.cookie != record.cookie or again.wanted != "running"
        ending.sweep(record.cookie)
        if stopped:
            return WorkerError(f"the worker of {clean(record.model)} was stopped while it was loading")
        if why:
            name = clean(record.model)
            error: RbeeError = WorkerError(
                f"{clean(record.worker)} did not come up on {name}: {why}",
                hint=f"rbee logs {name} shows its whole log",
                log=ready.tail(record),
            )
        else:
            death = self.certify(record)
            self.certificates.write(death)
            error, why = deaths.error_of(death), death.sentence
        self._records.forget(record)
        # On a full disk the sentence itself matters more than that others hear it.
        with suppress(RbeeError):
            self._tell_failed(record, why)
        return error

    def _tell_failed(self, record: Running, why: str) -> None:
        self._facts.tell("worker.failed", record.model, f"the worker of {clean(record.model)} failed: {why}")
