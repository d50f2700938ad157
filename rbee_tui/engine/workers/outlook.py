"""What a start would do, before it does it: the worker, its reason, the context and the memory. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from rbee_tui.engine.addresses import LOOPBACK
from rbee_tui.engine.artifacts import Entry, Offer, Worker
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.fit import estimate
from rbee_tui.engine.fitting.machine import Pool, machine_of
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.variants import Selection, Verdict, choose
from rbee_tui.engine.workers import placements, profiles, versions
from rbee_tui.engine.workers.choosing import LEAST_CONTEXT
from rbee_tui.engine.workers.profiles import PARALLEL
from rbee_tui.engine.workers.promises import pool_of
from rbee_tui.engine.workers.wishes import NOTHING, Wishes


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What starting a worker on a model would do now."""

    model: str
    worker_id: str | None
    """The worker that would be taken; None when none fits."""
    variant: str | None
    installed: bool
    """Whether that worker is here; an offer has to be installed first."""
    reason: str
    """Why it would be taken, or why none can be."""
    context: int
    """Tokens; 0 where it cannot be started."""
    needed_bytes: int
    """What the model takes at that context: weights, cache, compute and output."""
    free_bytes: int
    """What it may take on that variant."""
    promised_bytes: int = 0
    """What was taken off that for workers that were promised it."""
    device: str = ""
    """Where it would lie: `GPU0`, `all GPUs`, `CPU`; empty where it cannot be started."""
    gpu_layers: int = 0
    of_layers: int = 0
    slots: int = PARALLEL
    threads: int = 0
    host: str = LOOPBACK
    """The address that it would listen on."""
    needs_key: bool = True
    projector: str = ""
    """The name of the file with which it would see or hear; empty where it would serve text only."""
    where: str = ""
    """Device and layers in words."""
    retry_context: int | None = None
    """The context with which a refused start would not be refused; None where there is none."""
    refusal: str = ""
    """Why the start would be refused, with figures; empty when it would not."""
    hint: str = ""
    verdicts: tuple[Verdict, ...] = ()
    """Every worker, installed or offered, and why it fits or not."""


def look(  # noqa: PLR0913 - everything that a start looks at
    model_id: str,
    header: Header,
    reading: Reading,
    installed: Sequence[Entry[Worker]],
    offered: Sequence[Offer],
    promised: Mapping[Pool, int],
    *,
    wanted: Wishes = NOTHING,
    correction: int = 0,
    projector: str = "",
) -> Outlook:
    """The outlook for a model: an installed worker goes before an offer, as a start would take it.

    `promised` is what other workers were promised of each pool, `correction` what such models took beyond
    their estimates here; `projector` names the file beside it.
    """
    machine = machine_of(reading, promised)
    fits = placements.fits(model_id, header, machine, wanted, correction)
    every = choose(reading, [*installed, *offered], fits=fits)
    here = choose(reading, installed, fits=fits)
    taken = _wished(every, wanted.worker_id) if wanted.worker_id else _taken(here) or _taken(every)
    if taken is None:
        why = "no worker fits this machine"
        return Outlook(
            model=model_id,
            worker_id=None,
            variant=None,
            installed=False,
            reason=why,
            context=0,
            needed_bytes=estimate(header, LEAST_CONTEXT, parallel=PARALLEL).total,
            free_bytes=0,
            refusal=why,
            hint="the reasons stand beside each worker",
            verdicts=every.verdicts,
        )
    found = Outlook(
        model=model_id,
        worker_id=taken.worker_id,
        variant=taken.variant,
        installed=taken.installed,
        reason="it was asked for" if wanted.worker_id else taken.reason,
        context=0,
        needed_bytes=estimate(header, LEAST_CONTEXT, parallel=PARALLEL).total,
        free_bytes=machine.host.room,
        promised_bytes=promised.get(pool_of(taken.variant), 0),
        projector=projector,
        host=wanted.host or LOOPBACK,
        needs_key=wanted.key is not False,
        threads=wanted.threads or profiles.threads(reading.cpu.cores_available),
        verdicts=_marked(every, taken),
    )
    try:
        placement = placements.put(model_id, header, machine, taken.variant, wanted, correction)
    except RbeeError as error:
        return refused(found, error)
    return msgspec.structs.replace(
        found,
        context=placement.need.context,
        needed_bytes=placement.need.total,
        free_bytes=placement.room,
        device=placement.device,
        gpu_layers=placement.gpu_layers,
        of_layers=placement.of_layers,
        slots=placement.slots,
        where=placement.where,
    )


def refused(found: Outlook, error: RbeeError) -> Outlook:
    """The outlook of a start that would be refused, with the reason."""
    retry = error.details.get("retry_context")
    return msgspec.structs.replace(found, refusal=str(error), hint=error.hint, retry_context=retry)


def _wished(selection: Selection, worker_id: str) -> Verdict | None:
    """The verdict on the worker that was asked for, an installed one before an offer."""
    named = versions.split(worker_id)[0]
    found = [each for each in selection.verdicts if each.worker_id == named]
    first = min(found, key=lambda each: not each.installed, default=None)
    return msgspec.structs.replace(first, taken=True) if first else None


def _taken(selection: Selection) -> Verdict | None:
    return next((each for each in selection.verdicts if each.taken), None)


def _marked(every: Selection, taken: Verdict) -> tuple[Verdict, ...]:
    """The verdicts of all, with the one marked that a start takes."""
    return tuple(
        taken
        if (each.worker_id, each.installed) == (taken.worker_id, taken.installed)
        else msgspec.structs.replace(each, taken=False)
        for each in every.verdicts
    )
