"""Where the files of a job come from and arrive, how it ends, and what is taken away of a cancelled one."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from rbee_tui.engine import describe, durable, ids, nearby, switching, transfer
from rbee_tui.engine.artifacts import AVAILABLE, Model, failed
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.jobs import Outcome, PlannedFile, Record, progress_of, what_stays
from rbee_tui.engine.partials import kept_bytes
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.text import now
from rbee_tui.engine.transfer import Source
from rbee_tui.engine.transfer.journal import load


def source_of(record: Record, planned: PlannedFile) -> Source:
    """Where the transfer finds a planned file, and what it must be."""
    return Source(
        endpoint=record.endpoint,
        repo=record.repo,
        revision=record.revision,
        path=planned.path,
        size_bytes=planned.size_bytes,
        sha256=planned.sha256,
        blob_id=planned.blob_id,
    )


def conclude(
    store: JobStore,
    job_id: str,
    verb: str,
    outcome: Outcome,
    still: Callable[[Record], bool] = lambda _: True,
) -> Record:
    """Write a job's outcome into its record, once, if the record is `still` one of a job that ends so.

    Asked under the records' lock: a verb that came before is heeded, one that comes after finds the outcome.
    """
    return store.change(
        job_id,
        verb,
        lambda r: r if r.outcome or not still(r) else msgspec.structs.replace(r, outcome=outcome),
    )


def part_path(record: Record, planned: PlannedFile, root: Root) -> Path:
    """The arriving file of a planned one; told by the record alone, wherever the model's directory is."""
    name = transfer.part_name(ids.directory(record.model.id), source_of(record, planned))
    return root.part_directory() / name


def part_paths(record: Record, root: Root) -> list[Path]:
    """The arriving files of a job."""
    return [part_path(record, planned, root) for planned in record.files]


def store_model(models: ModelCatalog, model: Model, status: str) -> None:
    """Show a job's model in the catalog: a new entry, or the one that is there with what is new."""
    entry = models.peek(model.id)
    if entry is None:
        models.add_model(msgspec.structs.replace(model, status=status))
        return
    # What a running download will bring is not there yet: an entry that exists keeps its old facts.
    fields = describe.changes(model) if status == AVAILABLE or entry.artifact is None else {}
    models.update(model.id, **fields, status=status)


def clean_up(record: Record, store: JobStore, models: ModelCatalog, facts: Facts, verb: str) -> None:
    """Take away what a cancelled job had brought, and write its outcome; the caller holds the job's lock.

    Partial files stay where the record says so, for a later download of the same files; and what another
    download of the same model has made of it since stays too.
    """
    others = (each for each in store.list() if each.outcome is None and each.id != record.id)
    if all(each.model.id != record.model.id for each in others):
        for part in part_paths(record, store.root):
            nearby.sweep(part)
            if not record.keep_partial:
                discard(part)
        entry = models.peek(record.model.id)
        whole = entry is not None and entry.artifact is not None and entry.artifact.status == AVAILABLE
        if record.staged:
            switching.discard(store.root, record.model.id)
        elif entry is not None and record.fresh_entry and not whole:
            models.remove(record.model.id)
        elif entry is not None and not record.fresh_entry:
            models.update(record.model.id, status=record.model.status)
    conclude(store, record.id, verb, Outcome(state="cancelled", at=now()))
    said = what_stays(progress_of(record, None, "cancelled"))
    facts.tell("job.cancelled", record.id, f"{record.model.id} is cancelled; {said}")


def discard(part: Path) -> None:
    """Remove an arriving file and all that is beside it; the caller sees to it that nobody writes them."""
    transfer.discard(part)
    durable.sweep(transfer.journal_path(part))


def forget(part: Path, lock: Lock) -> None:
    """Remove what is left of bringing a file that is in its place: whoever published it may have been killed.

    What somebody writes at this moment, and so holds the part's lock for, stays.
    """
    if transfer.journal_path(part).exists() and lock.try_acquire():
        with lock:
            transfer.discard(part)


def show_failed(record: Record, root: Root, models: ModelCatalog, error: str) -> None:
    """Show in the catalog that a job has failed: where something of it is there."""
    # The entry may be what could not be written; the record has the error either way.
    with suppress(RbeeError):
        # Where newer files were gathering, the old ones are as whole as before.
        if not (record.staged or _leave_no_trace(record, root, models)):
            models.update(record.model.id, status=failed(error))


def _leave_no_trace(record: Record, root: Root, models: ModelCatalog) -> bool:
    """Take away the entry of a job that failed before a byte of it was kept; whether it is so."""
    if not record.fresh_entry or record.finished:
        return False
    parts = part_paths(record, root)
    if any(kept_bytes(load(transfer.journal_path(part))) for part in parts):
        return False
    for part in parts:
        discard(part)
    if models.peek(record.model.id) is not None:
        models.remove(record.model.id)
    return True
