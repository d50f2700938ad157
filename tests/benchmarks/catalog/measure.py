"""How long `rbee models list --json` takes over bare Python, with many models.

Usage: `python measure.py [COUNT] [ROUNDS]`. Each figure is the best of several fresh processes on a warm
cache, wall clock, in milliseconds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_models(root: Path, count: int) -> None:
    """Put `count` healthy models of one small file into a root, with all keys that a pull writes."""
    for number in range(count):
        name = f"model-{number:05d}-q4_k_m"
        directory = root / "models" / name
        directory.mkdir(parents=True)
        weights = directory / f"{name}.gguf"
        weights.write_bytes(b"GGUF" + bytes(60))
        metadata = directory / "metadata.json"
        metadata.write_text(json.dumps(_entry(name, number), indent=2))
        weights.chmod(0o644)
        metadata.chmod(0o644)
        directory.chmod(0o755)


def _entry(name: str, number: int) -> dict[str, object]:
    repo = f"acme/model-{number}-GGUF"
    stamp = "2025-11-08T15:35:00Z"
    file = {"path": f"{name}.gguf", "size_bytes": 64, "sha256": "0" * 64, "verified_at": stamp}
    artifact = {
        "id": name,
        "name": f"Model {number} Q4_K_M",
        "version": "Q4_K_M",
        "size_bytes": 64,
        "source_url": f"https://huggingface.co/{repo}/resolve/{COMMIT}/{name}.gguf",
        "status": "Available",
        "repo": repo,
        "revision": COMMIT,
        "files": [file],
        "format": "gguf",
        "architecture": "llama",
        "quantization": "Q4_K_M",
        "context_length": 8192,
        "verified_at": stamp,
        "license": "apache-2.0",
    }
    return {"artifact": artifact, "created_at": "2025-11-08T15:30:00Z", "updated_at": stamp}


def best(words: list[str], root: Path, rounds: int) -> tuple[float, bytes]:
    """The quickest of `rounds` fresh processes in milliseconds, and what the last one said."""
    environment = {**os.environ, "RBEE_HOME": str(root), "PYTHONPATH": str(CHECKOUT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    times: list[float] = []
    said = b""
    for _ in range(rounds):
        start = time.perf_counter()
        run = subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)
        said = run.stdout
        times.append((time.perf_counter() - start) * 1000)
    return min(times), said


def measure(count: int, rounds: int) -> dict[str, float]:
    """The figures for `count` models; raises AssertionError when a model is not listed as it is."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        put_models(root, count)
        rbee = ["-m", "rbee_tui", "models", "list", "--json"]
        best(rbee, root, 2)
        bare, _ = best(["-c", "pass"], root, rounds)
        start, _ = best(["-c", "import rbee_tui.cli.command"], root, rounds)
        catalog, _ = best(["-c", "import rbee_tui.engine.catalog"], root, rounds)
        whole, said = best(rbee, root, rounds)
        listed = json.loads(said)
        assert len(listed) == count
        assert all(entry["health"] == "ok" for entry in listed)
    return {
        "bare Python": bare,
        "import of the catalog, over it": catalog - bare,
        "import of the command, over it": start - bare,
        f"rbee models list --json with {count} models, over it": whole - bare,
    }


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    for what, value in measure(*(numbers + [10_000, 9][len(numbers) :])).items():
        print(f"{value:8.1f} ms  {what}")
