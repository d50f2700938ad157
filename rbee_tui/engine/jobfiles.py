"""What a job has on the disk: where its files arrive, what they must be, and what it leaves at its end."""

from pathlib import Path

import msgspec

from rbee_tui.engine import durable, ids, switching, transfer
from rbee_tui.engine.catalog import ModelCatalog
from rbee_tui.engine.errors import NotFoundError
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.jobs import Outcome, PlannedFile, Record
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.text import now
from rbee_tui.engine.transfer import Source


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


def conclude(store: JobStore, job_id: str, verb: str, outcome: Outcome) -> Record:
    """Write a job's outcome into its record, once."""
    return store.change(
        job_id, verb, lambda r: r if r.outcome else msgspec.structs.replace(r, outcome=outcome)
    )


def part_path(record: Record, planned: PlannedFile, root: Root) -> Path:
    """The arriving file of a planned one; told by the record alone, wherever the model's directory is."""
    name = transfer.part_name(ids.directory(record.model.id), source_of(record, planned))
    return root.part_directory() / name


def part_paths(record: Record, root: Root) -> list[Path]:
    """The arriving files of a job."""
    return [part_path(record, planned, root) for planned in record.files]


def clean_up(record: Record, store: JobStore, models: ModelCatalog, facts: Facts, verb: str) -> None:
    """Take away what a cancelled job had brought, and write its outcome; the caller holds the job's lock.

    Partial files stay where the record says so, for a later download of the same files.
    """
    for part in () if record.keep_partial else part_paths(record, store.root):
        transfer.discard(part)
        durable.sweep(transfer.journal_path(part))
    try:
        if record.staged:
            switching.discard(store.root, record.model.id)
        elif record.fresh_entry:
            models.remove(record.model.id)
        else:
            models.update(record.model.id, status=record.model.status)
    except NotFoundError:
        pass
    conclude(store, record.id, verb, Outcome(state="cancelled", at=now()))
    partial = "kept" if record.keep_partial else "gone"
    facts.tell("job.cancelled", record.id, f"{record.model.id} is cancelled; its partial files are {partial}")
