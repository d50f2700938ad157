"""Which worker fits this machine: a pure choice over one reading, with a reason for every candidate."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from rbee_tui.engine.artifacts import Entry, Health, Offer, Worker
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.probing import OF_MACHINE, PREFERENCE, Fit, Probe, Traits, normal, probe
from rbee_tui.engine.text import clean, memory

Candidate: TypeAlias = Offer | Worker | Entry[Worker]

_NAMES = {"cuda": "CUDA", "metal": "Metal", "cpu": "the CPU"}
# `nvidia-cuda-runtime-cu12 12.4.127`, `.../whl/cu124/`, `0.2.0+cu124`.
_RUNTIME_PACKAGE = re.compile(r"nvidia[-_]cuda[-_]runtime")
_RUNTIME_TAG = re.compile(r"(?:^|[/+.\-_])cu(?:da)?-?(\d{2})\.?(\d)(?:$|[/.\-_])")


class Verdict(msgspec.Struct, kw_only=True, frozen=True):
    """What was decided about one candidate, and why."""

    worker_id: str
    variant: str
    """cpu, cuda or metal; what a worker of another kind says of itself."""
    taken: bool
    usable: bool
    """It would run here; at most one of the usable ones is taken."""
    installed: bool
    reason: str
    """One sentence for a person."""
    probes: tuple[Probe, ...] = ()
    """What was looked at, in order; the first that is not ok is the reason of one that cannot run."""


class Selection(msgspec.Struct, kw_only=True, frozen=True):
    """The choice: at most one candidate, and a verdict for each, the best first."""

    worker_id: str | None
    variant: str | None
    verdicts: tuple[Verdict, ...]


def choose(
    reading: Reading,
    candidates: Sequence[Candidate],
    *,
    platform: str | None = None,
    fits: Mapping[str, Fit] | None = None,
) -> Selection:
    """The candidate that fits `reading` best, whatever their order, and a verdict for each of them.

    `platform` defaults to the reading's own; `fits` tells of each variant how the model lies in its memory.
    """
    here = normal(platform or reading.platform)
    verdicts: list[Verdict] = []
    taken: Traits | None = None
    for facts in sorted(_facts(candidate) for candidate in candidates):
        fit = (fits or {}).get(facts.variant)
        probes = probe(facts, reading, here, fit)
        refusal = next((each.text for each in probes if not each.ok), "")
        reason = refusal or _praise(facts, reading, fit)
        if not refusal and taken is not None:
            reason = _second(facts, taken)
        first = not refusal and taken is None
        taken = facts if first else taken
        verdicts.append(
            Verdict(
                worker_id=facts.worker_id,
                variant=facts.variant,
                taken=first,
                usable=not refusal,
                installed=not facts.offered,
                reason=reason,
                probes=probes,
            )
        )
    return Selection(
        worker_id=taken.worker_id if taken else None,
        variant=taken.variant if taken else None,
        verdicts=tuple(verdicts),
    )


def cuda_runtime(offer: Offer) -> tuple[int, int] | None:
    """The CUDA runtime that an offer brings, told from its packages, versions and index; None when unsaid."""
    for requirement in offer.requirements:
        if _RUNTIME_PACKAGE.match(requirement.name.lower()):
            numbers = re.match(r"(\d+)\.(\d+)", requirement.version)
            return (int(numbers[1]), int(numbers[2])) if numbers else None
    for text in (*(requirement.version for requirement in offer.requirements), offer.index_url or ""):
        if tag := _RUNTIME_TAG.search(text):
            return int(tag[1]), int(tag[2])
    return None


def _facts(candidate: Candidate) -> Traits:
    if isinstance(candidate, Offer):
        return Traits(
            rank=_rank(candidate.worker_type),
            offered=True,
            worker_id=candidate.id,
            variant=candidate.worker_type,
            platforms=tuple(sorted(candidate.platforms)),
            cpu_features=tuple(sorted(candidate.cpu_features)),
            cuda=cuda_runtime(candidate) or (),
            devices=(),
            broken="",
            closed=_closed(candidate),
        )
    broken = ""
    worker = candidate
    if isinstance(worker, Entry):
        worker_id, broken, worker = worker.id, _ill(worker), worker.artifact
        if worker is None:
            return _unreadable(worker_id, broken)
    return Traits(
        rank=_rank(worker.worker_type),
        offered=False,
        worker_id=worker.id,
        variant=worker.worker_type,
        platforms=tuple(sorted(worker.platforms)),
        cpu_features=tuple(sorted(worker.cpu_features)),
        cuda=(),
        devices=tuple(sorted(worker.devices)),
        broken=broken,
    )


def _unreadable(worker_id: str, broken: str) -> Traits:
    return Traits(
        rank=len(PREFERENCE),
        offered=False,
        worker_id=worker_id,
        variant="",
        platforms=(),
        cpu_features=(),
        cuda=(),
        devices=(),
        broken=broken,
    )


def _closed(offer: Offer) -> str:
    """Why an offer cannot be installed; empty when it can."""
    return f"it cannot be installed: {clean(offer.unavailable)}" if offer.unavailable else ""


def _ill(entry: Entry[Worker]) -> str:
    """What the catalog says is wrong with an installed worker; empty when nothing is."""
    if entry.health is Health.OK and entry.artifact is not None:
        return ""
    if entry.health is Health.ARRIVING:
        return "it is still being copied here"
    if entry.health is Health.MISSING:
        return "its binary is missing; install it again"
    return f"it is {entry.health} ({clean(entry.reason) or 'its metadata cannot be read'}); install it again"


def _rank(worker_type: str) -> int:
    return PREFERENCE.index(worker_type) if worker_type in PREFERENCE else len(PREFERENCE)


def foreign(worker: Worker, reading: Reading) -> str:
    """Why an installed worker is not for this machine, as one that was copied here; empty when it is."""
    probes = probe(_facts(worker), reading, normal(reading.platform), None)
    return next((each.text for each in probes if each.name in OF_MACHINE and not each.ok), "")


def _praise(facts: Traits, reading: Reading, fit: Fit | None) -> str:
    """Why a candidate is the one."""
    where = {"cuda": _on_cuda, "metal": _on_metal, "cpu": _on_cpu}[facts.variant](reading)
    if fit is not None and fit.refusal:
        where += f", but {fit.refusal}"
    elif fit is not None and fit.where and facts.variant != "cpu":
        where += f"; {fit.where}"
    unread = facts.cpu_features and not reading.cpu.features
    return f"{where}; what this CPU can do is not told here, and was not checked" if unread else where


def _on_cuda(reading: Reading) -> str:
    gpus = ", ".join(
        f"{gpu.label} {gpu.name or 'NVIDIA'} with {memory(gpu.memory_free)} free"
        for gpu in reading.usable_gpus
    )
    return f"it runs on {gpus}"


def _on_metal(reading: Reading) -> str:
    return f"it runs on Apple's Metal, with {memory(reading.memory.available)} of memory available"


def _on_cpu(reading: Reading) -> str:
    cores = f"{reading.cpu.cores_available:g}"
    available = memory(reading.memory.available)
    count = f"{cores} {'core' if cores == '1' else 'cores'}"
    return f"it runs on the CPU ({count}), with {available} of memory available"


def _second(facts: Traits, taken: Traits) -> str:
    """Why a candidate that would run is not the one."""
    first = clean(taken.worker_id)
    if facts.variant != taken.variant:
        faster = f"{_NAMES[taken.variant]} is faster than {_NAMES[facts.variant]}"
        return f"it would run, but {first} goes first: {faster}"
    if facts.worker_id == taken.worker_id:
        return "it is installed already" if facts.offered else f"{first} is listed twice"
    if facts.offered and not taken.offered:
        return f"it would run, but {first} is installed already"
    return f"it would run as well as {first}, whose name comes first"
