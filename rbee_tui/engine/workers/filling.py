"""Filling a worker's directory with what an offer brings, and asking it whether it runs here."""

import asyncio
import os
import shutil
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Offer, OfferFile, Requirement, Worker, this_platform
from rbee_tui.engine.errors import NoSpaceError, RbeeError, RefusedError, WorkerError
from rbee_tui.engine.listing import binaries, bundle
from rbee_tui.engine.paths import Root
from rbee_tui.engine.text import clean, size
from rbee_tui.engine.workers import building, profiles
from rbee_tui.engine.workers.bringing import bring, proven
from rbee_tui.engine.workers.packages import Say, install_command, local_environment, requirements, run_logged
from rbee_tui.engine.workers.pip_settings import uv_environment
from rbee_tui.engine.workers.runtimes import ask, base_python
from rbee_tui.engine.workers.trees import Staging

_TAIL_LINES = 12
_WHEELS, _BUILD, _WANTED = "wheels", "build", "requirements.txt"


async def fill(offer: Offer, staging: Staging, root: Root, say: Say) -> Worker:
    """Fill a begun directory with an offer, and ask the runtime which devices it sees; the worker that it is.

    Raises WorkerError where it does not run here, RefusedError, IntegrityError, NetworkError, NoSpaceError.
    """
    if offer.file is None:
        await _fill_from_index(offer, staging.path, say)
        return await asyncio.to_thread(_furnish, offer, staging)
    file = offer.file
    arrived = staging.path / f".{file.sha256}"
    await bring(offer, file, arrived, root, say)
    if file.kind == "binary":
        binary = await asyncio.to_thread(_take_binary, file, arrived, staging.path)
        worker = await asyncio.to_thread(_ask_binary, offer, binary)
    else:
        await _fill_from_bundle(offer, file, arrived, staging.path, say)
        worker = await asyncio.to_thread(_furnish, offer, staging)
    return msgspec.structs.replace(
        worker, sha256=file.sha256, signed_by=offer.signed_by, catalog=offer.catalog
    )


async def _fill_from_index(offer: Offer, staging: Path, say: Say) -> None:
    """Install the packages of a recipe from the user's package index; what has to be built is built first."""
    wanted, links = list(offer.requirements), list[str]()
    if offer.build:
        built = await building.build(offer, staging / _BUILD, say)
        wanted = [each for each in wanted if each.name not in offer.build] + [_pin(path) for path in built]
        links = ["--find-links", str(built[0].parent)]
    file = staging / _WANTED
    durable.write(file, requirements(wanted).encode())
    words = install_command(staging / "site", file, "--only-binary", ":all:", *links)
    code, said = await run_logged(words, staging, say, uv_environment(os.environ))
    file.unlink()
    await asyncio.to_thread(shutil.rmtree, staging / _BUILD, ignore_errors=True)
    if code:
        raise not_installed(offer, code, said)


def _pin(wheel: Path) -> Requirement:
    """A wheel that lies here, as exactly this one."""
    name, version = bundle.distribution(wheel.name)
    return Requirement(name=name, version=version, hashes=(_hash(wheel),))


def _hash(wheel: Path) -> str:
    from rbee_tui.engine.imports import hash_file  # noqa: PLC0415 - a verdict on an offer hashes nothing

    return f"sha256:{hash_file(wheel)}"


async def _fill_from_bundle(offer: Offer, file: OfferFile, arrived: Path, staging: Path, say: Say) -> None:
    """Install the wheels of a bundle, which are all that is looked at."""
    wheels, wanted = staging / _WHEELS, staging / _WANTED
    await asyncio.to_thread(_unpack, file, arrived, wheels, wanted)
    words = install_command(
        *(staging / "site", wanted),
        *("--only-binary", ":all:", "--no-index", "--no-config", "--no-cache", "--find-links", str(wheels)),
    )
    code, said = await run_logged(words, staging, say, local_environment(os.environ))
    await asyncio.to_thread(shutil.rmtree, wheels)
    wanted.unlink()
    if code:
        raise not_installed(offer, code, said)


def _unpack(file: OfferFile, arrived: Path, wheels: Path, wanted: Path) -> None:
    """Take a bundle apart, and write down what of it is for this machine."""
    wheels.mkdir()
    with proven(arrived, file) as opened:
        found = bundle.unpack(opened, file.name, wheels)
    arrived.unlink()
    fitting = bundle.require_wheels_for(found, this_platform(), file.name)
    hashes = tuple(map(_hash, found))
    pinned = [msgspec.structs.replace(each, hashes=hashes) for each in fitting]
    durable.write(wanted, requirements(pinned).encode())


def _take_binary(file: OfferFile, arrived: Path, staging: Path) -> Path:
    """Put a program that has come in its place; raises RefusedError for another platform's."""
    with proven(arrived, file) as opened:
        said = binaries.platform_in(opened.read(64))
    if said not in (None, this_platform()):
        raise RefusedError(
            f"{clean(file.name)} is refused: it is offered for {this_platform()}, and it is for {said}",
            hint="tell who runs the catalog",
        )
    binary = staging / file.name
    arrived.rename(binary)
    binary.chmod(0o755)
    return binary


def _ask_binary(offer: Offer, binary: Path) -> Worker:
    """The worker that a program is; raises WorkerError where it does not say that it is a llama-server."""
    answer = ask([str(binary), "--version"])
    if profiles.recognise(answer.said) is None:
        ending = answer.ending or "its --version says nothing that rbee knows"
        raise WorkerError(f"{offer.name} does not run here: {ending}", log=answer.last_lines)
    devices = profiles.devices_in(ask([str(binary), "--list-devices"]).said)
    return _worker(offer, binary.name, devices)


def _furnish(offer: Offer, staging: Staging) -> Worker:
    """Add the launcher, and ask the runtime which devices it sees."""
    launcher = staging.furnish(offer.id)
    python = base_python()
    answer = ask([str(python), "-I", str(launcher), "--devices", "--runtime", offer.runtime])
    devices = profiles.devices_in(answer.said)
    if answer.ending or not devices:
        why = answer.ending or "it lists no device"
        raise WorkerError(f"{offer.name} does not run here: {why}", log=answer.last_lines)
    return msgspec.structs.replace(_worker(offer, launcher.name, devices), python=str(python))


def _worker(offer: Offer, binary: str, devices: list[str]) -> Worker:
    require_device(offer, devices)
    # What is built here may use a GPU, and uses what this processor has.
    return Worker(
        id=offer.id,
        name=offer.name,
        version=offer.version,
        binary_path=binary,
        worker_type=profiles.worker_type_of(devices) if offer.build else offer.worker_type,
        capabilities=list(offer.capabilities),
        runtime=offer.runtime,
        platforms=[this_platform()],
        devices=devices,
        cpu_features=building.used_features(_cpu_features()) if offer.build else list(offer.cpu_features),
    )


def require_device(offer: Offer, devices: list[str]) -> None:
    """Raise WorkerError where a worker for a GPU sees none: it would quietly run on the processor."""
    if offer.worker_type != "cpu" and profiles.worker_type_of(devices) != offer.worker_type:
        raise WorkerError(
            f"{offer.name} sees no {offer.worker_type.upper()} device here, only {clean(', '.join(devices))}",
            hint="rbee hardware shows what the driver says; llm-worker-cpu runs without",
        )


def require_fitting(offer: Offer) -> None:
    """Raise RefusedError with the reason where an offer cannot be installed here."""
    if this_platform() not in offer.platforms:
        raise RefusedError(f"{offer.name} is for {', '.join(offer.platforms)}; this is {this_platform()}")
    if offer.unavailable or not (offer.requirements or offer.file):
        raise RefusedError(
            f"{offer.name} cannot be installed: {offer.unavailable or 'the listing names no package for it'}",
            hint="a llama-server built for this GPU works: rbee workers register PATH",
        )
    if offer.build:
        building.require_compiler(offer)
    lacking = lacking_features(offer, _cpu_features())
    if lacking:
        raise RefusedError(
            f"{offer.name} needs a processor with {', '.join(lacking).upper()}, and this one has not: "
            "it would die of an illegal instruction",
            hint="a llama-server built on this machine works: rbee workers register PATH",
        )


def lacking_features(offer: Offer, features: frozenset[str]) -> list[str]:
    """The features that an offer needs and the processor lacks; none where the system does not tell them.

    They are an x86 wheel's: other processors name theirs otherwise, and need none of these.
    """
    if not features or not this_platform().endswith("x86_64"):
        return []
    return [name for name in offer.cpu_features if name not in features]


def _cpu_features() -> frozenset[str]:
    from rbee_tui.engine import hardware  # noqa: PLC0415 - only an install looks

    return frozenset(hardware.read().cpu.features)


def not_installed(offer: Offer, code: int, said: list[str]) -> RbeeError:
    """The error for a package installer that failed, from its exit code and the lines that it said."""
    if any("No space left on device" in line for line in said):
        return NoSpaceError(
            f"{offer.name} could not be installed: no space is left"
            + (f", and it takes {size(offer.size_bytes)}" if offer.size_bytes else ""),
            hint="rbee models list shows what takes room; nothing was changed here",
        )
    return WorkerError(
        f"{offer.name} could not be installed: the package installer ended with {code}",
        hint="check the network and the package index; nothing was changed here",
        log="\n".join(said[-_TAIL_LINES:]),
    )
