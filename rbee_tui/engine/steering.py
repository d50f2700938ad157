"""What a verb makes of a job's record, for the whole job or one of its files. Pure."""

import re
from collections.abc import Iterable

import msgspec

from rbee_tui.engine.describe import role
from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.jobs import FailedFile, Outcome, Record
from rbee_tui.engine.process import Machine
from rbee_tui.engine.text import clean

_PART_OF_ONE = re.compile(r"-\d{5}-of-\d{5}\.\w+$")


def again(record: Record, here: Machine) -> Record:
    """The record as somebody wants it who asks for it now; raises RefusedError when it ended for good."""
    wanted = msgspec.structs.replace(record, held_files=[], failed_files=[])
    return _running(wanted, here)


def again_whole(record: Record, here: Machine) -> Record:
    """As `again()`, for somebody who asks for all files anew."""
    return again(msgspec.structs.replace(record, dropped_files=[]), here)


def paused(record: Record) -> Record:
    """The record of a paused job; one that has ended stays as it is."""
    return record if record.outcome else msgspec.structs.replace(record, wanted="paused")


def cancelled(record: Record, *, keep: bool) -> Record:
    """The record of a job that is to be cancelled, a failed one too; another that has ended stays as it is.

    What a repair has is a model that was whole: that is kept always.
    """
    if not may_go_on(record):
        return record
    keep = keep or record.repairs
    return msgspec.structs.replace(record, wanted="cancelled", keep_partial=keep, outcome=None)


def may_go_on(record: Record) -> bool:
    """Whether asking for the same files again continues this job rather than starting another."""
    if record.outcome is not None:
        return record.outcome.state == "failed"
    return record.wanted != "cancelled"


def hold_file(record: Record, path: str) -> Record:
    """The record with one file paused; raises NotFoundError, RefusedError for one that is done."""
    index = _unfinished(record, path)
    return msgspec.structs.replace(record, held_files=_with(record.held_files, index))


def resume_file(record: Record, path: str, here: Machine) -> Record:
    """The record with one file wanted again, whether it was paused, failed or cancelled."""
    return _running(_wanting(record, _unfinished(record, path)), here)


def retry_file(record: Record, path: str, here: Machine) -> Record:
    """As `resume_file()`, for a file that failed or was cancelled alone; raises RefusedError for another."""
    index = _unfinished(record, path)
    if index not in record.dropped_files and index not in (each.index for each in record.failed_files):
        raise RefusedError(f"{clean(path)} has not failed", hint=f"rbee retry {record.id} retries the job")
    return _running(_wanting(record, index), here)


def drop_file(record: Record, path: str, here: Machine) -> Record:
    """The record without one file; raises RefusedError where the model would be nothing without it.

    Where that was the last one that is missing, the job is wanted: there is nothing left but to end it well.
    """
    index = _unfinished(record, path)
    whole = f"rbee cancel {record.id} cancels the whole download"
    if record.repairs or record.staged:
        what = "repairs" if record.repairs else "updates"
        raise RefusedError(f"job {record.id} {what} a model: it cannot leave out a file", hint=whole)
    others = [each for each in record.wanted_files if each != index]
    weights = [record.files[each].path for each in others if role(record.files[each].path) == "weights"]
    if not others or (role(path) == "weights" and (_PART_OF_ONE.search(path) or not weights)):
        raise RefusedError(f"the model is nothing without {clean(path)}", hint=whole)
    failed = [each for each in record.failed_files if each.index != index]
    dropped = _with(record.dropped_files, index)
    record = msgspec.structs.replace(record, dropped_files=dropped, failed_files=failed)
    return _running(record, here) if record.is_complete else record


def fail_file(record: Record, failed: FailedFile) -> Record:
    """The record with one file failed: it waits for a retry."""
    others = [each for each in record.failed_files if each.index != failed.index]
    return msgspec.structs.replace(record, failed_files=[*others, failed])


def settled(record: Record, at: str) -> Record:
    """The record of a job of which only files that rest are left: failed, paused, or as it is.

    It stays as it is where one of its files is wanted, or where it does without those that are missing.
    """
    if record.outcome or record.wanted != "running" or not _all_rest(record):
        return record
    if record.failed_files:
        first, more = record.failed_files[0], len(record.failed_files) - 1
        beside = f" (and {more} more of its files failed)" if more else ""
        outcome = Outcome(state="failed", at=at, error=first.error + beside, hint=first.hint, code=first.code)
        return msgspec.structs.replace(record, outcome=outcome)
    return msgspec.structs.replace(record, wanted="paused") if record.held_files else record


def rests(record: Record, index: int) -> bool:
    """Whether a file waits for somebody who wants it."""
    failed = any(each.index == index for each in record.failed_files)
    return failed or index in record.held_files or index in record.dropped_files


def _all_rest(record: Record) -> bool:
    return all(each in record.finished or rests(record, each) for each in range(len(record.files)))


def finish_file(record: Record, index: int) -> Record:
    """The record with one file verified and published, whatever was wanted of it meanwhile."""
    dropped = [each for each in record.dropped_files if each != index]
    return msgspec.structs.replace(record, finished=_with(record.finished, index), dropped_files=dropped)


def index_of(record: Record, path: str) -> int:
    """Where a file stands in the record; raises NotFoundError."""
    for index, planned in enumerate(record.files):
        if planned.path == path:
            return index
    raise NotFoundError(
        f"job {record.id} has no file {clean(path)!r}", hint=f"rbee jobs show {record.id} names them"
    )


def _unfinished(record: Record, path: str) -> int:
    index = index_of(record, path)
    if record.outcome is not None and record.outcome.state != "failed":
        raise RefusedError(f"job {record.id} is {record.outcome.state} already")
    if index in record.finished:
        raise RefusedError(f"{clean(path)} is done already")
    return index


def _wanting(record: Record, index: int) -> Record:
    return msgspec.structs.replace(
        record,
        held_files=[each for each in record.held_files if each != index],
        dropped_files=[each for each in record.dropped_files if each != index],
        failed_files=[each for each in record.failed_files if each.index != index],
    )


def _running(record: Record, here: Machine) -> Record:
    if record.outcome is not None and record.outcome.state != "failed":
        raise RefusedError(f"job {record.id} is {record.outcome.state} already")
    return msgspec.structs.replace(record, wanted="running", outcome=None, adoptions=0, machine=here)


def _with(indices: Iterable[int], index: int) -> list[int]:
    return sorted({*indices, index})
