"""Ollama's store: manifests that name blobs by their SHA-256; read only."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rbee_tui.engine.elsewhere.found import Found, FoundFile
from rbee_tui.engine.ids import default_model_id
from rbee_tui.engine.plain import UNDECODABLE
from rbee_tui.engine.text import clean

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_USUAL = ("registry.ollama.ai/library/", "registry.ollama.ai/")
_MODEL = "application/vnd.ollama.image.model"
_PROJECTOR = "application/vnd.ollama.image.projector"
_MANIFEST_BYTES = 1 << 20
_MAGIC = b"GGUF"


class _Layer(msgspec.Struct):
    mediaType: str = ""  # noqa: N815 - Ollama's own spelling
    digest: str = ""
    size: int = 0


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def look(base: Path, program: str) -> Iterator[Found]:
    """The models whose weights are one GGUF file that is there."""
    manifests = base / "manifests"
    for at, _, names in os.walk(manifests):
        for name in sorted(names):
            path = Path(at, name)
            found = _model(base, _named(path.relative_to(manifests)), path, program)
            if found is not None:
                yield found


def _named(within: Path) -> str:
    """As Ollama names it: `llama3.2:latest`, `hf.co/owner/name:Q4_K_M`."""
    name = f"{within.parent.as_posix()}:{within.name}"
    for usual in _USUAL:
        name = name.removeprefix(usual)
    return name


def _model(base: Path, name: str, manifest: Path, program: str) -> Found | None:
    try:
        if manifest.stat().st_size > _MANIFEST_BYTES:
            return None
        layers = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).layers
    except (OSError, *UNDECODABLE):
        return None
    files: list[FoundFile] = []
    stem = default_model_id("", clean(name).replace("/", "-").replace(":", "-"))
    for kind, target in ((_MODEL, f"{stem}.gguf"), (_PROJECTOR, f"mmproj-{stem}.gguf")):
        wanted = [layer for layer in layers if layer.mediaType == kind]
        found = [file for layer in wanted if (file := _blob(base, layer, target))]
        if len(wanted) > 1 or len(found) != len(wanted) or (kind == _MODEL and not found):
            return None
        files += found
    return Found(id=name, program=program, files=files)


def _blob(base: Path, layer: _Layer, target: str) -> FoundFile | None:
    digest = _DIGEST.fullmatch(layer.digest)
    if digest is None:
        return None
    path = blob(base, digest[1])
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
        size = path.stat().st_size
    except OSError:
        return None
    return FoundFile(path=str(path), name=target, size_bytes=size, sha256=digest[1])


def blob(base: Path, sha256: str) -> Path:
    """Where the blob of a hash lies, or would lie."""
    return base / "blobs" / f"sha256-{sha256}"
