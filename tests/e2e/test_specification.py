"""The specification's own examples, put into a root by hand."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.support import Rbee

MODEL = {
    "artifact": {
        "id": "llama-3-8b-q4_k_m",
        "name": "Llama 3 8B Q4_K_M",
        "version": "1.0",
        "size_bytes": 4800000000,
        "source_url": "https://huggingface.co/...",
        "status": "Available",
    },
    "created_at": "2025-11-08T15:30:00Z",
    "updated_at": "2025-11-08T15:35:00Z",
}
WORKER = {
    "artifact": {
        "id": "llm-worker-cuda",
        "name": "LLM Worker (CUDA)",
        "version": "0.1.0",
        "binary_path": "/usr/local/bin/llm-worker-cuda",
        "worker_type": "cuda",
        "capabilities": ["text-generation"],
        "status": "Available",
    },
    "created_at": "2025-11-08T15:30:00Z",
    "updated_at": "2025-11-08T15:35:00Z",
}


def put(home: Path, catalog: str, entry: dict) -> Path:
    directory = home / catalog / entry["artifact"]["id"]
    directory.mkdir(parents=True)
    (directory / "metadata.json").write_text(json.dumps(entry))
    return directory


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    """An rbee on an empty root."""
    return Rbee(tmp_path / "rbee")


class TestExamples:
    """They load as they stand."""

    def test_the_model_is_listed_as_missing(self, rbee: Rbee):
        """Its metadata is there, its file is not."""
        put(rbee.home, "models", MODEL)
        (entry,) = rbee.json("models", "list")
        assert entry["artifact"]["id"] == "llama-3-8b-q4_k_m"
        assert entry["artifact"]["size_bytes"] == 4800000000
        assert entry["health"] == "missing"

    def test_the_worker_is_listed_as_missing(self, rbee: Rbee):
        """Its binary is not on this machine."""
        put(rbee.home, "workers", WORKER)
        entry = next(
            e for e in rbee.json("workers", "list") if e["id"] == "llm-worker-cuda" and e["artifact"]
        )
        assert entry["health"] == "missing"

    def test_a_damaged_one_beside_them_is_listed_as_broken(self, rbee: Rbee):
        """With the reason, and without hiding the healthy one."""
        put(rbee.home, "models", MODEL)
        broken = rbee.home / "models" / "mistral-7b-q4_0"
        broken.mkdir()
        (broken / "metadata.json").write_text('{"artifact": {"id": ')
        health = {entry["id"]: entry["health"] for entry in rbee.json("models", "list")}
        assert health == {"llama-3-8b-q4_k_m": "missing", "mistral-7b-q4_0": "broken"}

    def test_a_missing_model_starts_no_worker(self, rbee: Rbee):
        """It says so, and what to do."""
        put(rbee.home, "models", MODEL)
        process = rbee.start("start", "llama-3-8b-q4_k_m")
        _, said = process.communicate(timeout=60)
        assert process.returncode not in (0, 1)
        assert "missing" in said

    def test_reading_writes_nothing(self, rbee: Rbee):
        """A listing leaves the metadata as it was, to the byte and to the nanosecond."""
        path = put(rbee.home, "models", MODEL) / "metadata.json"
        before = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        rbee.run("models", "list")
        rbee.run("models", "show", "llama-3-8b-q4_k_m")
        assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before

    def test_a_copied_tree_works_on_another_root(self, rbee: Rbee, tmp_path: Path):
        """As `scp -r` brings it."""
        put(rbee.home, "models", MODEL)
        there = Rbee(tmp_path / "elsewhere")
        shutil.copytree(rbee.home / "models", there.home / "models")
        assert [entry["id"] for entry in there.json("models", "list")] == ["llama-3-8b-q4_k_m"]
