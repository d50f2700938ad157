"""metadata.json: read strictly, written so that keys we do not know survive."""

import json
import re
from typing import Any, Generic, NoReturn

import msgspec

from rbee_tui.engine.artifacts import ArtifactT, Model, Worker
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.plain import as_dict, as_list
from rbee_tui.engine.text import clean

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_KEY = re.compile(rb'"\s*:')
_SIZES = ("size_bytes", "context_length")


class Document(msgspec.Struct, Generic[ArtifactT], kw_only=True):
    """A whole metadata.json."""

    artifact: ArtifactT
    created_at: str | None = None
    updated_at: str | None = None


_DOCUMENTS: dict[type[Any], Any] = {Model: Document[Model], Worker: Document[Worker]}


def decode(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`, with every key; raises MetadataError for hostile or broken JSON."""
    if len(raw) > MAX_BYTES:
        raise MetadataError(f"metadata.json is larger than {MAX_BYTES >> 20} MiB")
    try:
        found: Any = msgspec.json.decode(raw)
    except RecursionError:
        raise MetadataError("metadata.json is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise MetadataError(f"metadata.json is not JSON: {clean(str(error))}") from None
    if not isinstance(found, dict):
        raise MetadataError("metadata.json is not an object")
    found = as_dict(found)
    # Each key in the text matches the pattern; as many keys in the value mean that none was there twice.
    if _count_keys(found, 0) != len(_KEY.findall(raw)):
        _refuse_duplicates(raw)
    if b"\\u0000" in raw:
        _refuse_nul(found)
    return found


def _count_keys(value: Any, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise MetadataError("metadata.json is nested too deeply")
    inner = [*as_dict(value).values(), *as_list(value)]
    return len(as_dict(value)) + sum(_count_keys(v, depth + 1) for v in inner if type(v) in (dict, list))


def _refuse_duplicates(raw: bytes) -> None:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise MetadataError("metadata.json has a key twice")
        return found

    json.loads(raw, object_pairs_hook=pairs)


def _refuse_nul(value: Any) -> None:
    if isinstance(value, str) and "\0" in value:
        raise MetadataError("metadata.json holds a NUL character")
    for item in (*as_dict(value), *as_dict(value).values(), *as_list(value)):
        _refuse_nul(item)


def convert(found: dict[str, Any], kind: type[ArtifactT]) -> Document[ArtifactT]:
    """The typed document in a decoded object; raises MetadataError that names the key."""
    try:
        document: Document[ArtifactT] = msgspec.convert(found, _DOCUMENTS[kind])
    except msgspec.ValidationError as error:
        raise MetadataError(f"metadata.json: {clean(str(error))}") from None
    if not document.artifact.id:
        _bad("artifact.id is empty")
    if isinstance(document.artifact, Model):
        _check_sizes(document.artifact)
    return document


def _check_sizes(model: Model) -> None:
    if model.size_bytes < 0 or (model.context_length or 0) < 0:
        _bad("a size is negative")
    if any(file.size_bytes < 0 for file in model.files):
        _bad("a file's size is negative")


def _bad(text: str) -> NoReturn:
    raise MetadataError(f"metadata.json: {text}")


def encode(artifact: Model | Worker, before: dict[str, Any], created_at: str, updated_at: str) -> bytes:
    """The text of a metadata.json: what `before` held and we do not know stays where it was."""
    merged = _merge(as_dict(before.get("artifact")), msgspec.to_builtins(artifact), type(artifact))
    document = {**before, "artifact": merged, "created_at": created_at, "updated_at": updated_at}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _merge(old: dict[str, Any], new: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    known = set(kind.__struct_fields__)
    merged = {key: value for key, value in old.items() if key not in known} | new
    if kind is Model and "files" in new:
        merged["files"] = _merge_files(old.get("files"), new["files"])
    # The specification's order comes first, so that the file reads as its examples do.
    order = [key for key in kind.__struct_fields__ if key in merged]
    return {key: merged[key] for key in [*order, *(key for key in merged if key not in known)]}


def _merge_files(old: Any, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from rbee_tui.engine.artifacts import ModelFile  # noqa: PLC0415

    known = set(ModelFile.__struct_fields__)
    before = {as_dict(file).get("path"): as_dict(file) for file in as_list(old)}
    return [
        {**file, **{k: v for k, v in before.get(file["path"], {}).items() if k not in known}} for file in new
    ]
