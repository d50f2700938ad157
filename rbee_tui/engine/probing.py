"""What is looked at before a worker is chosen: a probe for each thing that it needs. Pure."""

from collections.abc import Iterator

import msgspec

from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.text import clean

PREFERENCE = ("cuda", "metal", "cpu")
"""From the fastest to the one that runs everywhere."""
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}


OF_MACHINE = ("platform", "CPU features")
"""The probes that tell whether a worker was made for this kind of machine."""


class Probe(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that a worker needs, and whether it is here."""

    name: str
    """As `platform`, `CPU features`, `driver`, `memory`."""
    ok: bool
    text: str
    """What was found; where it is not `ok`, why the worker cannot run."""


class Fit(msgspec.Struct, kw_only=True, frozen=True):
    """How a model lies in the memory of one variant."""

    where: str = ""
    """Where it would lie: `all 33 layers on GPU0`."""
    refusal: str = ""
    """Why it does not fit, with figures; empty where it does."""


class Traits(msgspec.Struct, kw_only=True, frozen=True, order=True):
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


def probe(traits: Traits, reading: Reading, here: str, fit: Fit | None) -> tuple[Probe, ...]:
    """Every probe of a worker on this machine, up to the first that leaves nothing to ask after it.

    `here` is the machine's platform as `normal` writes it; `fit` is the model's, None without a model.
    """
    found: list[Probe] = []
    for each in _probes(traits, reading, here, fit):
        found.append(each)
        if not each.ok and each.name in ("health", "kind", "platform", "driver"):
            break
    return tuple(found)


def normal(platform: str) -> str:
    """A platform in the form of `linux-x86_64`, whatever the system calls its machine."""
    system, _, machine = platform.lower().partition("-")
    return f"{system}-{_MACHINES.get(machine, machine)}"


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(str(number) for number in version)


def _probes(traits: Traits, reading: Reading, here: str, fit: Fit | None) -> Iterator[Probe]:
    if not traits.offered:
        yield _said("health", traits.broken, "it is installed, and whole")
    kind = f"{clean(traits.variant) or 'its kind'} is not chosen by itself: start it by its name"
    yield _said("kind", "" if traits.variant in PREFERENCE else kind, traits.variant)
    yield _platform(traits, here)
    if traits.cpu_features and here.endswith("x86_64"):
        yield _features(traits, reading)
    if traits.variant == "cuda":
        yield from _cuda(traits, reading)
    if traits.variant == "metal":
        missing = "" if reading.metal.available else reading.metal.reason or f"Metal is not there on {here}"
        yield _said("Metal", missing, "it is there")
    if fit is not None:
        # The file is mapped: on the CPU it may run all the same, and nothing would be left to choose.
        needed = "" if traits.variant == "cpu" else fit.refusal
        yield _said("memory", needed, fit.where or fit.refusal)
    if traits.offered:
        yield _said("offer", traits.closed, "it can be installed")


def _said(name: str, refusal: str, text: str) -> Probe:
    return Probe(name=name, ok=not refusal, text=refusal or text)


def _platform(traits: Traits, here: str) -> Probe:
    if not traits.platforms or here in {normal(platform) for platform in traits.platforms}:
        return Probe(name="platform", ok=True, text=here)
    again = "" if traits.offered else "; install it again on this machine"
    said = f"it is for {clean(', '.join(traits.platforms))}, and this machine is {here}{again}"
    return Probe(name="platform", ok=False, text=said)


def _features(traits: Traits, reading: Reading) -> Probe:
    wanted = ", ".join(clean(feature).upper() for feature in traits.cpu_features)
    if not reading.cpu.features:
        return Probe(name="CPU features", ok=True, text=f"{wanted}: not told here, and not checked")
    missing = [
        clean(feature).upper()
        for feature in traits.cpu_features
        if feature.lower() not in reading.cpu.features
    ]
    again = "" if traits.offered else "; install it again on this machine"
    refusal = f"this CPU has no {', '.join(missing)}, without which it would die at once (SIGILL){again}"
    return _said("CPU features", refusal if missing else "", wanted)


def _cuda(traits: Traits, reading: Reading) -> Iterator[Probe]:
    yield _driver(reading)
    lost = "; ".join(f"{gpu.label}: {gpu.error}" for gpu in reading.gpus)
    refusal = "" if reading.usable_gpus else lost or "the NVIDIA driver answers, but lists no GPU"
    if not refusal and not any(gpu.memory_total for gpu in reading.usable_gpus):
        refusal = "no memory is known of any GPU"
    yield _said("GPUs", refusal, ", ".join(_gpu_words(reading)))
    runs = reading.nvml.cuda
    if traits.cuda and runs:
        # Within one major version, older drivers run newer runtimes.
        old = (
            f"it needs CUDA {dotted(traits.cuda)}, and the driver {reading.nvml.driver or ''} runs "
            f"up to CUDA {dotted(runs)}: update the driver"
        )
        yield _said(
            "CUDA", old if runs[0] < traits.cuda[0] else "", f"{dotted(traits.cuda)} of {dotted(runs)}"
        )
    if traits.devices:
        seen = clean(", ".join(traits.devices))
        blind = all(device.lower().startswith("cpu") for device in traits.devices)
        refusal = f"after its install it saw no GPU, only {seen}; install it again" if blind else ""
        yield _said("devices", refusal, f"it sees {seen}")


def _driver(reading: Reading) -> Probe:
    if reading.nvml.available:
        runs = f", up to CUDA {dotted(reading.nvml.cuda)}" if reading.nvml.cuda else ""
        return Probe(name="driver", ok=True, text=f"{reading.nvml.driver or 'it answers'}{runs}")
    others = " and ".join(sorted({gpu.vendor for gpu in reading.other_gpus}))
    beside = f" (this machine's {others} GPU cannot run CUDA)" if others else ""
    why = reading.nvml.reason or "the driver does not answer"
    return Probe(name="driver", ok=False, text=f"no NVIDIA GPU can be used: {why}{beside}")


def _gpu_words(reading: Reading) -> list[str]:
    """Each usable GPU with what tells whether a build runs on it."""
    return [
        f"{gpu.label} {gpu.name or 'NVIDIA'}"
        + (f" (compute capability {dotted(gpu.compute_capability)})" if gpu.compute_capability else "")
        for gpu in reading.usable_gpus
    ]
