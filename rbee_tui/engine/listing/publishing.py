"""Publishing a worker: a recipe's wheels, mirrored into one bundle, or a program of this machine."""

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Offer, WorkerType, this_platform
from rbee_tui.engine.durable import Lock, storage
from rbee_tui.engine.errors import RefusedError, UsageError, WorkerError
from rbee_tui.engine.listing import binaries, bundle
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.listing.format import Published
from rbee_tui.engine.listing.store import Store
from rbee_tui.engine.paths import PRIVATE_MODE, make_directory
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers import building, profiles
from rbee_tui.engine.workers.packages import pip_command, requirements, run_logged
from rbee_tui.engine.workers.runtimes import ask

_TAIL_LINES = 12
_NEWEST_GLIBC = 39
_OLDEST_GLIBC = 17
_MACOS = range(11, 16)


async def publish_recipe(
    store: Store, offer: Offer, platforms: Sequence[str], say: Callable[[str], None]
) -> Published:
    """Collect the wheels of a recipe for some platforms (none: this one) and publish them as one bundle.

    Raises RefusedError for a recipe that cannot be mirrored, WorkerError with the lines of the package
    installer, UsageError.
    """
    if not offer.requirements:
        raise RefusedError(
            f"{offer.name} cannot be published: {offer.unavailable or 'the listing names no package for it'}"
        )
    wanted = tuple(platforms) or (this_platform(),)
    for platform in wanted:
        if platform not in offer.platforms:
            raise UsageError(
                f"{offer.id} is not for {clean(platform)}", hint=f"it is for {', '.join(offer.platforms)}"
            )
    with Lock(store.path / "mirror.lock", "workers publish").acquire():
        place = await asyncio.to_thread(_empty, store.path / "mirror")
        try:
            for platform in wanted:
                await _collect(offer, platform, place, say)
            packed = await asyncio.to_thread(_pack, place)
            return await asyncio.to_thread(store.publish, _entry(offer, wanted), packed)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _empty(place: Path) -> Path:
    """A directory without what a killed publisher left in it."""
    shutil.rmtree(place, ignore_errors=True)
    return make_directory(place, PRIVATE_MODE)


def _pack(place: Path) -> Path:
    packed = place / "bundle.tar"
    bundle.pack(place.glob("*.whl"), packed)
    return packed


def _entry(offer: Offer, platforms: tuple[str, ...]) -> Published:
    """What the listing says of a mirrored recipe; the file's size and hash are found out when it is taken."""
    return Published(
        id=offer.id,
        name=offer.name,
        version=offer.version,
        description=offer.description,
        license=offer.license,
        worker_type=offer.worker_type,
        platforms=platforms,
        architectures=_architectures(platforms),
        capabilities=offer.capabilities,
        runtime=offer.runtime,
        size_bytes=0,
        sha256="",
        filename=f"{offer.id}-{offer.version}.bundle.tar",
        kind="bundle",
        cpu_features=building.PORTABLE if offer.build else offer.cpu_features,
    )


async def _collect(offer: Offer, platform: str, place: Path, say: Callable[[str], None]) -> None:
    """Bring the wheels of a recipe for one platform, each compared with the recipe's hashes by pip itself."""
    if offer.build:
        await _build(offer, platform, place, say)
    wanted = place / "requirements.txt"
    ready_made = [each for each in offer.requirements if each.name not in offer.build]
    durable.write(wanted, requirements(ready_made).encode())
    words = [
        *(*pip_command(), "download", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        *("--require-hashes", "--no-deps", "--only-binary", ":all:"),
        *("--dest", str(place), "--requirement", str(wanted)),
        *(word for tag in tags_of(platform) for word in ("--platform", tag)),
    ]
    code, said = await run_logged(words, place, say, os.environ)
    if code:
        raise WorkerError(
            f"the packages of {offer.name} for {platform} could not be collected: pip ended with {code}",
            hint="check the network and the package index; nothing was published",
            log="\n".join(said[-_TAIL_LINES:]),
        )


async def _build(offer: Offer, platform: str, place: Path, say: Callable[[str], None]) -> None:
    """Build what has no wheels, for all machines of this platform."""
    if platform != this_platform():
        raise RefusedError(
            f"{offer.name} is built from its source, so here only for {this_platform()}",
            hint=f"publish it on a machine that is {clean(platform)}",
        )
    for wheel in await building.build(offer, place / "build", say, portable=True):
        wheel.rename(place / wheel.name)
    await asyncio.to_thread(shutil.rmtree, place / "build")


def tags_of(platform: str) -> list[str]:
    """The platform tags of wheels that run on a platform, the newest first; raises UsageError."""
    system, _, machine = platform.partition("-")
    if system == "linux":
        newest_first = range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)
        return [*(f"manylinux_2_{minor}_{machine}" for minor in newest_first), f"manylinux2014_{machine}"]
    if system == "macos":
        name = {"aarch64": "arm64"}.get(machine, machine)
        return [f"macosx_{major}_0_{name}" for major in reversed(_MACOS)]
    raise UsageError(f"{clean(platform)!r} is no platform", hint="as linux-x86_64 or macos-aarch64")


def publish_binary(
    store: Store,
    path: Path,
    *,
    worker_id: str,
    name: str = "",
    version: str = "",
    worker_type: WorkerType = "cpu",
    license: str = "",  # noqa: A002 - the listing's own word
) -> Published:
    """Publish a llama-server; what is not said is asked of the program, where it runs here.

    Raises UsageError for what is no program or does not tell its version, RefusedError.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {clean(str(path))}")
    if not form.is_id(worker_id):
        raise UsageError(
            f"{clean(worker_id)[:120]!r} cannot be the id of a published worker",
            hint="it has 1 to 100 of the characters a-z, 0-9 and -",
        )
    platform = binaries.platform_of(path) or this_platform()
    if not version:
        version = _version_of(path) if platform == this_platform() and os.access(path, os.X_OK) else ""
    if not version:
        raise UsageError(
            f"{clean(str(path))} does not say which version it is",
            hint="--version says it for a llama-server",
        )
    entry = Published(
        id=worker_id,
        name=name or f"llama-server {version}",
        version=version,
        license=license,
        worker_type=worker_type,
        platforms=(platform,),
        architectures=_architectures((platform,)),
        runtime=form.BINARY_RUNTIME,
        size_bytes=0,
        sha256="",
        filename=f"{worker_id}-{version}" if form.is_filename(f"{worker_id}-{version}") else worker_id,
        kind="binary",
    )
    return store.publish(entry, path)


def _version_of(path: Path) -> str:
    with storage("read", path):
        return profiles.recognise(ask([str(path.absolute()), "--version"]).said) or ""


def _architectures(platforms: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({platform.partition("-")[2] for platform in platforms}))
