"""The metadata.json structs: what a model, a worker and an offer are.

They hold plain data that never leads back to itself, so the garbage collector need not look at them
(`gc=False`): with thousands of models that would be a fifth of a listing.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

AVAILABLE = "Available"
DOWNLOADING = "Downloading"

WorkerType = Literal["cpu", "cuda", "metal"]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A size or a number of things, as far as 64 bits go."""
Role = Literal["weights", "projector", "config", "tokenizer", "other"]


class Health(StrEnum):
    """What the disk says of an artifact; derived at each reading, never stored."""

    OK = "ok"
    MISSING = "missing"
    """The metadata is there, its file is not."""
    PARTIAL = "partial"
    """Some of its files are there."""
    DAMAGED = "damaged"
    """A file is there with another size, or failed its hash."""
    BROKEN = "broken"
    """The metadata cannot be read."""
    ARRIVING = "arriving"
    """Incomplete, and changed within the last 10 s: somebody is copying it here."""
    IMPORTABLE = "importable"
    """A loose GGUF file in models/, without a directory and metadata of its own."""


def failed(error: str) -> dict[str, dict[str, str]]:
    """The status of a download that ended with an error, in the specification's form."""
    return {"Failed": {"error": error}}


# Factories, since the specification's keys are written always, also where they hold the usual value.
def _available() -> Any:
    return AVAILABLE


def _nothing() -> list[str]:
    return []


class ModelFile(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One file of a model; `path` is relative to the artifact's directory, with `/`."""

    path: str
    size_bytes: Count
    sha256: str | None = None
    blob_id: str | None = None
    """The git blob id, for small files that the Hub keeps in git itself."""
    outside: str | None = None
    """The absolute path of a file that was taken up in place: it lies there, and is another program's."""
    role: str = "weights"
    """A `Role`; one that was made elsewhere is kept as it is."""
    verified_at: str | None = None
    damaged_at: str | None = None
    """When its bytes were last found not to match its hash; a file written after that is a new one."""


class Model(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A model: one or more files that are loaded together. The first six keys are the specification's."""

    id: str
    name: str
    version: str
    size_bytes: Count
    source_url: str
    status: Any = msgspec.field(default_factory=_available)
    """`"Available"`, `"Downloading"` or `{"Failed": {"error": ...}}`; anything else is shown as it is."""
    repo: str | None = None
    revision: str | None = None
    """The commit that the files come from."""
    requested_revision: str | None = None
    """The branch, tag or commit that was asked for, which an update asks for again; None: `main`."""
    files: tuple[ModelFile, ...] = ()
    format: str | None = None
    architecture: str | None = None
    quantization: str | None = None
    context_length: Count | None = None
    """The longest context, in tokens, that the model was trained for."""
    verified_at: str | None = None
    license: str | None = None


class Worker(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """An installed runtime that can serve a model. The first seven keys are the specification's."""

    id: str
    name: str
    version: str
    binary_path: str
    """Relative to the artifact's directory, or absolute for a registered system binary."""
    worker_type: str
    capabilities: list[str] = msgspec.field(default_factory=_nothing)
    status: Any = msgspec.field(default_factory=_available)
    runtime: str | None = None
    """The profile that knows how to start it: `xllamacpp`, `llama-server`, `llama-cpp-python`."""
    platforms: list[str] = []
    """As `linux-x86_64`, `macos-arm64`."""
    devices: list[str] = []
    """What the runtime itself listed right after the install."""
    python: str | None = None
    """The interpreter that its launcher runs under."""
    sha256: str | None = None
    """Of the catalog server's file that it was installed from."""
    signed_by: str | None = None
    """The key that signed the listing with that file."""
    catalog: str | None = None
    """The URL of that catalog; None for one from the bundled listing, or registered."""
    cpu_features: list[str] = []
    """Features of the processor, as in /proc/cpuinfo, without which it dies of SIGILL."""


ArtifactT = TypeVar("ArtifactT", Model, Worker)


class Entry(msgspec.Struct, Generic[ArtifactT], kw_only=True, gc=False):
    """A line of a catalog: the artifact as stored, and what the disk says of it."""

    id: str
    artifact: ArtifactT | None
    """None when the metadata cannot be read."""
    health: Health
    reason: str = ""
    """Why the health is not `ok`, in one sentence."""
    created_at: str | None = None
    updated_at: str | None = None
    directory: str = ""
    """The directory's absolute path."""


class Requirement(msgspec.Struct, kw_only=True, frozen=True):
    """A package of a recipe, pinned with the hashes of the files that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]
    """As `sha256:<hex>`."""
    marker: str = ""
    """For which Pythons it is, as `python_full_version < '3.12'`; empty for all."""


class OfferFile(msgspec.Struct, kw_only=True, frozen=True):
    """The one file of an offer of a worker catalog server."""

    name: str
    size_bytes: int
    sha256: str
    kind: Literal["binary", "bundle"]
    """A program, or a tar file of wheels."""


class Offer(msgspec.Struct, kw_only=True, frozen=True):
    """A worker that may be installed: by a recipe that names packages, or from a catalog server's file."""

    id: str
    name: str
    version: str
    worker_type: WorkerType
    runtime: str
    platforms: tuple[str, ...]
    capabilities: tuple[str, ...] = ("text-generation",)
    description: str = ""
    license: str = ""
    size_bytes: int = 0
    """What it takes on disk, unpacked."""
    cpu_features: tuple[str, ...] = ()
    """Features, as in /proc/cpuinfo, without which the runtime dies of SIGILL."""
    requirements: tuple[Requirement, ...] = ()
    build: tuple[str, ...] = ()
    """Those of the requirements that are built here from their source, which takes a C++ compiler."""
    build_requirements: tuple[Requirement, ...] = ()
    """What builds them."""
    index_url: str | None = None
    """A package index besides the user's own; None for the user's own."""
    unavailable: str = ""
    """Why it cannot be installed from its listing; empty when it can."""
    catalog: str = ""
    """The URL of the catalog that offers it; empty for the bundled listing."""
    signed_by: str = ""
    """The key that signed that catalog's listing."""
    file: OfferFile | None = None


def this_platform() -> str:
    """This machine in the form of `Offer.platforms`."""
    import platform  # noqa: PLC0415 - 5 ms that a listing does not pay

    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    return f"{system}-{machine}"


def resolve_binary(worker: Worker, directory: Path) -> Path:
    """The absolute path of a worker's binary."""
    return directory / worker.binary_path
