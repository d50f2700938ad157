"""Which worker fits this machine: a pure choice over one reading, with a reason for every candidate."""

import re
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from rbee_tui.engine.artifacts import Entry, Health, Offer, Worker
from rbee_tui.engine.fit import MARGIN_BYTES
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.text import clean, memory

Candidate: TypeAlias = Offer | Worker | Entry[Worker]

PREFERENCE = ("cuda", "metal", "cpu")
"""From the fastest to the one that runs everywhere."""

GPU_MARGIN = MARGIN_BYTES
"""Bytes of a GPU's memory that are left alone: the driver, the screen, and what the estimate misses."""

_NAMES = {"cuda": "CUDA", "metal": "Metal", "cpu": "the CPU"}
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
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


class Selection(msgspec.Struct, kw_only=True, frozen=True):
    """The choice: at most one candidate, and a verdict for each, the best first."""

    worker_id: str | None
    variant: str | None
    verdicts: tuple[Verdict, ...]


class _Facts(msgspec.Struct, kw_only=True, frozen=True, order=True):
    """What the choice looks at, the same for an offer and an installed worker; ordered by what goes first."""

    rank: int
    offered: bool
    worker_id: str
    variant: str
    platforms: tuple[str, ...]
    cpu_features: tuple[str, ...]
    cuda: tuple[int, ...]
    """The CUDA runtime inside, as (12, 4); empty when nothing tells."""
    devices: tuple[str, ...]
    broken: str
    """What the catalog says is wrong with it."""
    closed: str = ""
    """Why an offer cannot be installed."""


def choose(
    reading: Reading,
    candidates: Sequence[Candidate],
    *,
    platform: str | None = None,
    needed_bytes: int | None = None,
) -> Selection:
    """The candidate that fits `reading` best, whatever their order, and a verdict for each of them.

    `platform` defaults to the reading's own; `needed_bytes` is what the model takes once loaded.
    """
    here = _normal(platform or reading.platform)
    verdicts: list[Verdict] = []
    taken: _Facts | None = None
    for facts in sorted(_facts(candidate) for candidate in candidates):
        refusal = _refusal(facts, reading, here, needed_bytes)
        reason = refusal or _praise(facts, reading, needed_bytes)
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


def _facts(candidate: Candidate) -> _Facts:
    if isinstance(candidate, Offer):
        return _Facts(
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
    return _Facts(
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


def _unreadable(worker_id: str, broken: str) -> _Facts:
    return _Facts(
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


def _normal(platform: str) -> str:
    system, _, machine = platform.lower().partition("-")
    return f"{system}-{_MACHINES.get(machine, machine)}"


def _refusal(facts: _Facts, reading: Reading, here: str, needed: int | None) -> str:
    """Why a candidate cannot run here; empty when it can."""
    if facts.broken:
        return facts.broken
    if facts.variant not in PREFERENCE:
        return f"{clean(facts.variant) or 'its kind'} is not chosen by itself: start it by its name"
    if foreign := _foreign(facts, reading, here):
        return foreign
    if facts.variant == "cuda":
        return _cuda_refusal(facts, reading, needed) or facts.closed
    return (_metal_refusal(here, reading, needed) if facts.variant == "metal" else "") or facts.closed


def foreign(worker: Worker, reading: Reading) -> str:
    """Why an installed worker is not for this machine, as one that was copied here; empty when it is."""
    return _foreign(_facts(worker), reading, _normal(reading.platform))


def _foreign(facts: _Facts, reading: Reading, here: str) -> str:
    again = "" if facts.offered else "; install it again on this machine"
    if facts.platforms and here not in {_normal(platform) for platform in facts.platforms}:
        return f"it is for {clean(', '.join(facts.platforms))}, and this machine is {here}{again}"
    if here.endswith("x86_64") and (missing := _missing_features(facts, reading)):
        return f"this CPU has no {', '.join(missing)}, without which it would die at once (SIGILL){again}"
    return ""


def _missing_features(facts: _Facts, reading: Reading) -> list[str]:
    if not reading.cpu.features:
        return []
    return [
        clean(feature).upper()
        for feature in facts.cpu_features
        if feature.lower() not in reading.cpu.features
    ]


def _cuda_refusal(facts: _Facts, reading: Reading, needed: int | None) -> str:
    if not reading.nvml.available:
        others = " and ".join(sorted({gpu.vendor for gpu in reading.other_gpus}))
        beside = f" (this machine's {others} GPU cannot run CUDA)" if others else ""
        return f"no NVIDIA GPU can be used: {reading.nvml.reason or 'the driver does not answer'}{beside}"
    if not reading.gpus:
        return "the NVIDIA driver answers, but lists no GPU"
    if not reading.usable_gpus:
        return "; ".join(f"{gpu.label}: {gpu.error}" for gpu in reading.gpus)
    if _too_old(facts.cuda, reading.nvml.cuda):
        return (
            f"it needs CUDA {_dotted(facts.cuda)}, and the driver {reading.nvml.driver or ''} runs "
            f"up to CUDA {_dotted(reading.nvml.cuda or ())}: update the driver"
        )
    if facts.devices and all(device.lower().startswith("cpu") for device in facts.devices):
        return f"after its install it saw no GPU, only {clean(', '.join(facts.devices))}; install it again"
    return _gpu_memory_refusal(reading, needed)


def _too_old(runtime: tuple[int, ...], driver: tuple[int, int] | None) -> bool:
    """Whether the driver is of an older CUDA major version: within one, older drivers run newer runtimes."""
    return bool(runtime) and driver is not None and driver[0] < runtime[0]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in version)


def _gpu_memory_refusal(reading: Reading, needed: int | None) -> str:
    if not any(gpu.memory_total for gpu in reading.usable_gpus):
        return "no memory is known of any GPU"
    room = _gpu_room(reading)
    if needed is None or needed <= room:
        return ""
    free = ", ".join(
        f"{gpu.label} has {memory(gpu.memory_free)} free of {memory(gpu.memory_total)}"
        for gpu in reading.usable_gpus
    )
    return f"the model needs {memory(needed)} and {memory(GPU_MARGIN)} are kept free on each GPU: {free}"


def _gpu_room(reading: Reading) -> int:
    """Bytes for a model over all GPUs: a model's layers are split over them."""
    rooms = (
        max(0, gpu.memory_free - GPU_MARGIN) for gpu in reading.usable_gpus if not gpu.shares_host_memory
    )
    shared = any(gpu.shares_host_memory for gpu in reading.usable_gpus)
    return sum(rooms) + (max(0, reading.memory.available - GPU_MARGIN) if shared else 0)


def _metal_refusal(here: str, reading: Reading, needed: int | None) -> str:
    if not reading.metal.available:
        return reading.metal.reason or f"Metal is not there on {here}"
    if needed is not None and needed + GPU_MARGIN > reading.memory.available:
        return (
            f"the model needs {memory(needed)} and {memory(GPU_MARGIN)} are kept free: "
            f"{memory(reading.memory.available)} are available"
        )
    return ""


def _praise(facts: _Facts, reading: Reading, needed: int | None) -> str:
    """Why a candidate is the one."""
    where = {"cuda": _on_cuda, "metal": _on_metal, "cpu": _on_cpu}[facts.variant](reading, needed)
    unread = facts.cpu_features and not reading.cpu.features
    return f"{where}; what this CPU can do is not told here, and was not checked" if unread else where


def _on_cuda(reading: Reading, needed: int | None) -> str:
    gpus = ", ".join(
        f"{gpu.label} {gpu.name or 'NVIDIA'} with {memory(gpu.memory_free)} free"
        for gpu in reading.usable_gpus
    )
    largest = max(gpu.memory_free for gpu in reading.usable_gpus)
    split = needed is not None and needed > largest - GPU_MARGIN and len(reading.usable_gpus) > 1
    return f"it runs on {gpus}{'; the model is split over them' if split else ''}"


def _on_metal(reading: Reading, needed: int | None) -> str:
    del needed  # it fits, or this would not be reached
    return f"it runs on Apple's Metal, with {memory(reading.memory.available)} of memory available"


def _on_cpu(reading: Reading, needed: int | None) -> str:
    cores = f"{reading.cpu.cores_available:g}"
    room = f"it runs on the CPU ({cores} {'core' if cores == '1' else 'cores'}), "
    if needed is not None and needed > reading.memory.available:
        return (
            f"{room}but the model needs {memory(needed)} and {memory(reading.memory.available)} are "
            "available: it may be slow, or run out of memory"
        )
    return f"{room}with {memory(reading.memory.available)} of memory available"


def _second(facts: _Facts, taken: _Facts) -> str:
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
