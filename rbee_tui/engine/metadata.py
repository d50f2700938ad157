"""The codec of metadata.json: hostile text is refused by name, keys that we do not know survive a rewrite."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Generic, cast

import msgspec

from rbee_tui.engine.artifacts import ArtifactT, Model, ModelFile, Worker
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.plain import UNDECODABLE, as_dict, as_list
from rbee_tui.engine.text import clean

NAME = "metadata.json"
MAX_BYTES = 1 << 20
MAX_DEPTH = 32

_NUL = b"\\u0000"


class Document(msgspec.Struct, Generic[ArtifactT], kw_only=True, omit_defaults=True, gc=False):
    """A whole metadata.json, as far as we know its keys."""

    artifact: ArtifactT
    created_at: str | None = None
    updated_at: str | None = None


_MODEL = msgspec.json.Decoder(Document[Model])
_WORKER = msgspec.json.Decoder(Document[Worker])
_JSON = msgspec.json.Decoder()
_ENCODE = msgspec.json.Encoder().encode


def read(raw: bytes, kind: type[ArtifactT]) -> Document[ArtifactT]:
    """The document in a metadata.json; raises MetadataError that says what is wrong with it."""
    decoder = _MODEL if kind is Model else _WORKER
    try:
        document = cast("Document[ArtifactT]", decoder.decode(raw))
    except UNDECODABLE as error:
        decode(raw)
        raise MetadataError(f"{NAME} does not hold what it must: {clean(str(error))}") from None
    # What rbee wrote is, but for its white space, what it would write again: then nothing can hide in it.
    if _NUL in raw or len(raw) > MAX_BYTES or msgspec.json.format(raw, indent=-1) != _ENCODE(document):
        decode(raw)
    artifact = document.artifact
    if not artifact.id:
        raise MetadataError(f"{NAME} has an empty id")
    if isinstance(artifact, Model):
        _check_places(artifact.files)
    elif not artifact.binary_path.startswith("/") and not inside(artifact.binary_path):
        raise MetadataError(f"{NAME} names the binary {clean(artifact.binary_path)!r}, outside its directory")
    return document


def _check_places(files: tuple[ModelFile, ...]) -> None:
    for file in files:
        if not inside(file.path):
            raise MetadataError(f"{NAME} names the file {clean(file.path)!r}, outside its directory")
        if file.outside is not None and not file.outside.startswith("/"):
            raise MetadataError(f"{NAME} names the place {clean(file.outside)!r}, no absolute path")


def decode(raw: bytes) -> dict[str, Any]:
    """The JSON object in a metadata.json with all its keys; raises MetadataError."""
    if len(raw) > MAX_BYTES:
        raise MetadataError(f"{NAME} is larger than {MAX_BYTES >> 20} MiB")
    try:
        found: Any = _JSON.decode(raw)
    except RecursionError:
        raise MetadataError(f"{NAME} is nested deeper than {MAX_DEPTH} levels") from None
    except UNDECODABLE as error:
        raise MetadataError(f"{NAME} is not JSON: {clean(str(error))}") from None
    if not isinstance(found, dict):
        raise MetadataError(f"{NAME} is not an object")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(found) > MAX_DEPTH:
        raise MetadataError(f"{NAME} is nested deeper than {MAX_DEPTH} levels")
    # Written anew it is the same text but for its white space: then no key stands there twice. Numbers and
    # escapes may be spelled otherwise; the slow way decides about those.
    if msgspec.json.format(raw, indent=-1) != _ENCODE(found):
        _refuse_duplicates(raw)
    if _NUL in raw and any("\0" in text for text in _strings(found)):
        raise MetadataError(f"{NAME} holds a NUL character")
    return cast("dict[str, Any]", found)


def inside(path: str) -> bool:
    """Whether a relative path stays in its directory; says nothing of links."""
    if "/" not in path:
        return path not in ("", ".", "..") and "\0" not in path
    return all(inside(part) for part in path.split("/"))


def _depth(value: Any) -> int:
    deepest = 0
    level: list[Any] = [value]
    while level and deepest <= MAX_DEPTH:
        deepest += 1
        level = [inner for each in level for inner in _inner(each) if isinstance(inner, (dict, list))]
    return deepest


def _inner(value: Any) -> list[Any]:
    return [*as_dict(value).values(), *as_list(value)]


def _refuse_duplicates(raw: bytes) -> None:
    """The exact and slow way, for texts in which a string looks like a key."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise MetadataError(f"{NAME} has the key {clean(twice)!r} twice")
        return found

    json.loads(raw, object_pairs_hook=once)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in (*as_dict(value), *_inner(value)):
        yield from _strings(item)


def encode(artifact: Model | Worker, before: dict[str, Any], created_at: str, updated_at: str) -> bytes:
    """The text of a metadata.json; of what `before` held, keys that we do not know stay, at every level."""
    old = before.get("artifact")
    merged = _merge(old, msgspec.to_builtins(artifact), artifact.__struct_fields__)
    if "files" in merged and isinstance(artifact, Model):
        merged["files"] = _merge_files(old, merged["files"])
    document = {**before, "artifact": merged, "created_at": created_at, "updated_at": updated_at}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _merge(old: Any, new: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    return {**new, **{key: value for key, value in as_dict(old).items() if key not in known}}


def _merge_files(old: Any, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    before = {as_dict(file).get("path"): file for file in as_list(as_dict(old).get("files"))}
    return [_merge(before.get(file["path"]), file, ModelFile.__struct_fields__) for file in files]
