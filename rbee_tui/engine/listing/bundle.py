"""A bundle: a plain tar file of wheels, the same for the same wheels, and taken apart with care."""

import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from rbee_tui.engine import durable
from rbee_tui.engine.artifacts import Requirement
from rbee_tui.engine.durable import storage
from rbee_tui.engine.errors import RefusedError
from rbee_tui.engine.listing import format as form
from rbee_tui.engine.text import clean

MOST_WHEELS = 200
_CHUNK = 1 << 20
_FILE_MODE = 0o644
_WHEEL = re.compile(r"([A-Za-z0-9_.]+)-([A-Za-z0-9_.+!]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl")


def pack(wheels: Iterable[Path], target: Path) -> None:
    """Put wheels into one tar file; it has no times, owners or folders in it."""
    with storage("write", target), tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(wheels, key=lambda path: path.name):
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = path.stat().st_size, _FILE_MODE
            with path.open("rb") as file:
                archive.addfile(member, file)


def unpack(file: BinaryIO, name: str, directory: Path) -> list[Path]:
    """Write the wheels of an opened bundle into an empty directory; raises RefusedError for all else."""
    found: list[Path] = []
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                require_plain(member, name)
                if len(found) == MOST_WHEELS:
                    raise RefusedError(f"the bundle {clean(name)} is refused: it has too many files")
                content = archive.extractfile(member)
                assert content is not None  # noqa: S101 - for the type checker: it is a file
                found.append(directory / member.name)
                _write(content, found[-1])
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise RefusedError(f"the bundle {clean(name)} is refused: it is no tar file ({error})") from None
    except FileExistsError:
        raise RefusedError(f"the bundle {clean(name)} is refused: it has a file twice") from None
    return found


def require_plain(member: tarfile.TarInfo, name: str) -> None:
    """Raise RefusedError for a link, a device, a folder, a path, or a file that is no wheel."""
    said = clean(member.name)[:120]
    if member.issym() or member.islnk():
        target = clean(member.linkname)[:120]
        raise RefusedError(f"the bundle {clean(name)} is refused: {said!r} in it is a link to {target!r}")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise RefusedError(f"the bundle {clean(name)} is refused: {said!r} in it is no plain file")
    if not form.is_filename(member.name) or not _WHEEL.fullmatch(member.name):
        raise RefusedError(f"the bundle {clean(name)} is refused: {said!r} in it is not the name of a wheel")


def _write(content: IO[bytes], path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, _FILE_MODE)
    try:
        while chunk := content.read(_CHUNK):
            durable.write_all(handle, chunk)
    finally:
        os.close(handle)


def distribution(wheel: str) -> tuple[str, str]:
    """The name and the version in a wheel's file name; raises ValueError."""
    match = _WHEEL.fullmatch(wheel)
    if match is None:
        raise ValueError(wheel)
    return match[1].lower().replace("_", "-"), match[2]


def platforms_of(wheel: str) -> frozenset[str]:
    """The platforms that a wheel's name says, as `linux-x86_64`; `any` for one that runs everywhere."""
    match = _WHEEL.fullmatch(wheel)
    return frozenset(_platforms(match[5])) if match else frozenset()


def _platforms(tags: str) -> Iterator[str]:
    for tag in tags.split("."):
        if tag == "any":
            yield "any"
        elif found := re.fullmatch(r"(?:many|musl)?linux(?:\d+|_\d+_\d+)?_(\w+)", tag):
            yield f"linux-{found[1]}"
        elif found := re.fullmatch(r"macosx_\d+_\d+_(\w+)", tag):
            machines = {"arm64": ("aarch64",), "universal2": ("aarch64", "x86_64")}
            for machine in machines.get(found[1], (found[1],)):
                yield f"macos-{machine}"


def require_wheels_for(wheels: Iterable[Path], platform: str, name: str) -> list[Requirement]:
    """What to install of these wheels on a platform.

    Raises RefusedError where a distribution has none for it: then the listing lied about the platform.
    """
    fitting: dict[str, str] = {}
    others: dict[str, str] = {}
    for path in wheels:
        package, version = distribution(path.name)
        fits = platforms_of(path.name) & {"any", platform}
        (fitting if fits else others)[package] = version if fits else path.name
    for package, wheel in others.items():
        if package not in fitting:
            raise RefusedError(
                f"the bundle {clean(name)} is refused: it is offered for {platform}, and has {clean(wheel)}",
                hint="tell who runs the catalog",
            )
    return [Requirement(name=package, version=version, hashes=()) for package, version in fitting.items()]
