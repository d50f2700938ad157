"""From a repository, a choice and the files' own headers to the model that the catalog lists."""

import shlex
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from rbee_tui.engine import gguf
from rbee_tui.engine.artifacts import Entry, Model, ModelFile, Role
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.ids import default_model_id
from rbee_tui.engine.jobs import PlannedFile, Record
from rbee_tui.engine.text import clean, now

_CONFIG = frozenset({"config.json", "generation_config.json", "model.safetensors.index.json"})


def role(path: str) -> Role:
    """What a file of a repository is for, from its name."""
    name = PurePosixPath(path).name.lower()
    if name.startswith("mmproj") or ".mmproj" in name:
        return "projector"
    if name.endswith((".gguf", ".safetensors", ".bin", ".pth")):
        return "weights"
    if name.startswith("tokenizer") or name in {"vocab.json", "merges.txt", "special_tokens_map.json"}:
        return "tokenizer"
    return "config" if name in _CONFIG else "other"


def finished_model(record: Record, directory: Path) -> Model:
    """The model of a job whose wanted files are all in place, with what its header says."""
    stamp = now()
    files = tuple(model_file(record.files[index], stamp) for index in record.wanted_files)
    model = msgspec.structs.replace(record.model, files=files, verified_at=stamp, size_bytes=record.total)
    weights = next((f for f in files if f.role == "weights" and f.path.lower().endswith(".gguf")), None)
    return with_header(model, directory / weights.path) if weights else model


def model_file(file: PlannedFile, verified_at: str) -> ModelFile:
    """A planned file as the catalog keeps it."""
    return ModelFile(
        path=file.target,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        blob_id=file.blob_id,
        role=role(file.path),
        verified_at=verified_at,
    )


def with_header(model: Model, path: Path) -> Model:
    """The model with what its GGUF header says; unchanged where the header cannot be read."""
    try:
        header = gguf.read(path)
    except MetadataError:
        return model
    return msgspec.structs.replace(
        model,
        architecture=header.architecture or model.architecture,
        quantization=model.quantization or header.quantization,
        context_length=header.context_length or model.context_length,
    )


def pull_command(model: Model) -> str:
    """The command that brings a model again; empty where it came from no repository."""
    if model.repo is None:
        return ""
    file = file_of(model)
    revision = model.requested_revision
    usual = default_model_id(model.repo, file)
    owner = model.repo.partition("/")[0].lower()
    named = "" if model.id in (usual, f"{usual}--{owner}") else f" --id {shlex.quote(model.id)}"
    what = model.repo + (f"@{revision}" if revision else "") + (f":{file}" if file else "")
    return clean(f"rbee pull {shlex.quote(what)}{named}")


def file_of(model: Model) -> str | None:
    """The file of its repository that names a model; None for a whole repository, or where nobody knows."""
    return model.source_url.partition(f"/resolve/{model.revision}/")[2] or None


def place_of(entry: Entry[Model], file: ModelFile) -> str:
    """Where a file of a model lies: in its directory, or where another program has it."""
    return file.outside or f"{entry.directory}/{file.path}"


def outside(entry: Entry[Model]) -> list[str]:
    """The files of a model that lie where another program has them."""
    return [file.outside for file in entry.artifact.files if file.outside] if entry.artifact else []


def held(entry: Entry[Model]) -> str:
    """In a word whose the bytes of a model are: `in place`, `linked` or `its own`."""
    if outside(entry):
        return "in place"
    directory = Path(entry.directory)
    names = [directory / file.path for file in entry.artifact.files] if entry.artifact else []
    return "linked" if any(path.stat().st_nlink > 1 for path in names) else "its own"


def changes(model: Model) -> dict[str, Any]:
    """Every field of a model but its id and status, as `Catalog.update` takes them."""
    return {
        name: getattr(model, name)
        for name in model.__struct_fields__
        if name not in ("id", "status") and getattr(model, name) is not None
    }
