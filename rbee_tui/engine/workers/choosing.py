"""What a model is started with: the worker, the context and the memory that it will take."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from rbee_tui.engine.artifacts import Entry, Health, Worker, resolve_binary
from rbee_tui.engine.catalog import WorkerCatalog
from rbee_tui.engine.errors import DoesNotFitError, NotFoundError, RefusedError
from rbee_tui.engine.fit import Estimate, estimate, largest_context
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.probing import Fit
from rbee_tui.engine.text import clean, memory
from rbee_tui.engine.variants import choose, foreign
from rbee_tui.engine.workers import profiles, versions
from rbee_tui.engine.workers.deaths import smaller
from rbee_tui.engine.workers.profiles import PARALLEL
from rbee_tui.engine.workers.runtimes import ask

DEFAULT_CONTEXT = 8192
LEAST_CONTEXT = 512


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The worker to start, with its runtime known."""

    worker: Worker
    binary: Path
    reason: str


def choose_worker(
    workers: WorkerCatalog, worker_id: str | None, reading: Reading, fits: Mapping[str, Fit]
) -> Choice:
    """The worker that was asked for, else the installed one that fits best.

    `fits` tells of each variant how the model lies in its memory. Raises NotFoundError, RefusedError with the
    reason against each.
    """
    if worker_id is not None:
        return _known(versions.get(workers, worker_id), "it was asked for", reading)
    entries = workers.list()
    if not entries:
        raise NotFoundError("no worker is installed", hint="rbee workers install brings the one that fits")
    selection = choose(reading, entries, fits=fits)
    taken = next((each for each in selection.verdicts if each.taken), None)
    if taken is None:
        reasons = "; ".join(f"{clean(each.worker_id)}: {each.reason}" for each in selection.verdicts)
        raise RefusedError(
            f"no installed worker fits this machine: {reasons}",
            hint="rbee workers list shows what may be installed",
        )
    return _known(_entry(entries, taken.worker_id), taken.reason, reading)


def _entry(entries: Sequence[Entry[Worker]], worker_id: str) -> Entry[Worker]:
    return next(entry for entry in entries if entry.id == worker_id)


def _known(entry: Entry[Worker], reason: str, reading: Reading) -> Choice:
    """The worker with its runtime: one in the specification's own format is asked what it is."""
    worker = entry.artifact
    if worker is None or entry.health is not Health.OK:
        raise RefusedError(
            f"{clean(entry.id)} is {entry.health}: {clean(entry.reason)}",
            hint=f"rbee workers install {clean(entry.id)} brings an offered one again",
        )
    if wrong := foreign(worker, reading):
        raise RefusedError(
            f"{clean(entry.id)} cannot be started here: {wrong}",
            hint=f"rbee workers install {clean(entry.id)} brings one for this machine",
        )
    binary = resolve_binary(worker, Path(entry.directory))
    if not worker.runtime and profiles.recognise(ask([str(binary), "--version"]).said):
        worker = msgspec.structs.replace(worker, runtime="llama-server")
    profiles.of(worker)
    return Choice(worker=worker, binary=binary, reason=reason)


def choose_context(
    name: str,
    header: Header,
    wanted: int | None,
    free: int,
    *,
    promised: int = 0,
    correction: int = 0,
    parallel: int = PARALLEL,
) -> Estimate:
    """The estimate for the context to start with: as asked, else what fits up to 8,192 tokens.

    `correction` is what workers of the architecture took beyond their estimates; `promised` is for the words.
    Raises RefusedError with figures where it does not fit. Where an estimate does not cover the architecture
    it lies between two bounds, and only the lower one refuses.
    """
    trained = header.context_length or DEFAULT_CONTEXT
    most = wanted or min(trained, DEFAULT_CONTEXT)
    least = most if wanted else min(most, LEAST_CONTEXT)
    need = estimate(header, least, parallel=parallel).plus(correction)
    if (need.total if need.covered else need.low) > free:
        beside = f" beside {memory(promised)} promised to other workers" if promised else ""
        takes = memory(need.total) if need.covered else f"at least {memory(need.low)}"
        raise _does_not_fit(
            f"{clean(name)} needs {takes} at a context of {need.context:,} (weights "
            f"{memory(need.weights)}, cache {memory(need.kv)}), and {memory(free)} are available{beside}",
            name,
            largest_context(
                header, free - correction, min(least, trained), min(least, LEAST_CONTEXT), parallel=parallel
            ),
            header.projector_bytes,
        )
    fitting = largest_context(header, free - correction, most, least, parallel=parallel)
    return estimate(header, fitting or least, parallel=parallel).plus(correction)


def _does_not_fit(message: str, name: str, context: int | None, projector: int) -> DoesNotFitError:
    """The refusal, with the context that would fit."""
    without = f"; --no-projector leaves {memory(projector)} and more out, for text only" if projector else ""
    if context is None:
        return DoesNotFitError(message, hint=f"stop another worker, or take a smaller quantisation{without}")
    error = DoesNotFitError(message, hint=f"{smaller(name, context)}{without}")
    error.details["retry_context"] = context
    return error
