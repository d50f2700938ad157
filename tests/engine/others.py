"""What other programs have on a disk, made as they make it."""

import hashlib
import json
from pathlib import Path


def hub_cache(
    base: Path, repo: str, files: dict[str, bytes], commit: str = "c" * 40, ref: str = "main"
) -> Path:
    """A repository in the Hub's cache: blobs, a snapshot of links, a ref; the snapshot."""
    at = base / f"models--{repo.replace('/', '--')}"
    snapshot = at / "snapshots" / commit
    for name, data in files.items():
        blob = at / "blobs" / hashlib.sha256(data).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
    (at / "refs").mkdir(parents=True, exist_ok=True)
    (at / "refs" / ref).write_text(commit)
    return snapshot


def ollama(base: Path, name: str, tag: str, model: bytes, projector: bytes | None = None) -> Path:
    """A model in Ollama's store: its blobs and its manifest; the blob of the weights."""
    layers: list[dict[str, object]] = []
    for kind, data in (("model", model), ("projector", projector)):
        if data is not None:
            digest = hashlib.sha256(data).hexdigest()
            blob = base / "blobs" / f"sha256-{digest}"
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(data)
            layers.append(
                {
                    "mediaType": f"application/vnd.ollama.image.{kind}",
                    "digest": f"sha256:{digest}",
                    "size": len(data),
                }
            )
    manifest = base / "manifests/registry.ollama.ai/library" / name / tag
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return base / "blobs" / f"sha256-{hashlib.sha256(model).hexdigest()}"


def tree(at: Path) -> dict[str, tuple[object, ...]]:
    """Every name beneath a directory: what it is, its mode, its time, its bytes or where it leads."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(at.rglob("*")):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(at))] = (status.st_mode, status.st_mtime_ns, content)
    return found
