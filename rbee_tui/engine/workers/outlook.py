"""What a start would do, before it does it: the worker, its reason, the context and the memory. Pure."""

from collections.abc import Callable, Sequence

import msgspec

from rbee_tui.engine.artifacts import Entry, Offer, Worker
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.fit import estimate
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.variants import Selection, Verdict, choose
from rbee_tui.engine.workers.choosing import LEAST_CONTEXT, choose_context
from rbee_tui.engine.workers.profiles import PARALLEL


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
    refusal: str = ""
    """Why the start would be refused, with figures; empty when it would not."""
    hint: str = ""
    verdicts: tuple[Verdict, ...] = ()
    """Every worker, installed or offered, and why it fits or not."""


def look(
    model_id: str,
    header: Header,
    reading: Reading,
    installed: Sequence[Entry[Worker]],
    offered: Sequence[Offer],
    room: Callable[[str], int],
    correction: int = 0,
) -> Outlook:
    """The outlook for a model: an installed worker goes before an offer, as a start would take it.

    `room` gives the bytes that a model may take on a variant, `correction` what such models took beyond
    their estimates here.
    """
    needed = estimate(header, LEAST_CONTEXT, parallel=PARALLEL).total
    every = choose(reading, [*installed, *offered], needed_bytes=needed)
    here = choose(reading, installed, needed_bytes=needed)
    taken = _taken(here) or _taken(every)
    if taken is None:
        why = "no worker fits this machine"
        return Outlook(
            model=model_id,
            worker_id=None,
            variant=None,
            installed=False,
            reason=why,
            context=0,
            needed_bytes=needed,
            free_bytes=0,
            refusal=why,
            hint="the reasons stand beside each worker",
            verdicts=every.verdicts,
        )
    free = room(taken.variant)
    refusal, hint, context = "", "", 0
    try:
        need = choose_context(model_id, header, None, free, correction=correction)
        context, needed = need.context, need.total
    except RefusedError as error:
        refusal, hint = str(error), error.hint
    return Outlook(
        model=model_id,
        worker_id=taken.worker_id,
        variant=taken.variant,
        installed=taken.installed,
        reason=taken.reason,
        context=context,
        needed_bytes=needed,
        free_bytes=free,
        refusal=refusal,
        hint=hint,
        verdicts=_marked(every, taken),
    )


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
