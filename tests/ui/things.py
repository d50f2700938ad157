"""Models, workers, downloads and a machine to be shown, for the tests of the pure parts."""

from typing import Any

import msgspec

from rbee_tui.engine.artifacts import Entry, Health, Model, Worker
from rbee_tui.engine.jobs import FileProgress, JobProgress
from rbee_tui.engine.workers.supervise import RunningWorker
from rbee_tui.ui.house import House

MB = 1_000_000
GB = 1_000_000_000
GIB = 1 << 30


def a_model(model_id: str = "tiny", health: Health = Health.OK, **changes: Any) -> Entry[Model]:
    """A model of 4.9 GB, verified."""
    artifact: dict[str, Any] = {
        "id": model_id,
        "name": model_id,
        "version": "1",
        "size_bytes": 4_900_000_000,
        "source_url": "https://example.org/acme/tiny/resolve/main/tiny.gguf",
        "quantization": "Q4_K_M",
        "context_length": 131072,
        "verified_at": "2026-01-01T00:00:00Z",
    }
    entry = {key: changes.pop(key) for key in ("reason", "updated_at", "directory") if key in changes}
    return Entry(id=model_id, artifact=Model(**(artifact | changes)), health=health, **entry)


def unreadable(model_id: str, health: Health = Health.BROKEN) -> Entry[Model]:
    """An entry whose metadata says nothing."""
    return Entry(id=model_id, artifact=None, health=health, reason="its metadata.json is not JSON")


def a_worker(worker_id: str = "llm-worker-cpu", health: Health = Health.OK, **changes: Any) -> Entry[Worker]:
    """An installed worker."""
    artifact = {
        "id": worker_id,
        "name": worker_id,
        "version": "1.2",
        "binary_path": "bin",
        "worker_type": "cpu",
    } | changes
    return Entry(id=worker_id, artifact=Worker(**artifact), health=health)


def a_running(model: str = "tiny", **changes: Any) -> RunningWorker:
    """A worker that is ready on port 4242."""
    running = RunningWorker(
        id=model,
        model=model,
        worker="llm-worker-cpu",
        variant="cpu",
        pid=7,
        port=4242,
        url="http://127.0.0.1:4242",
        api_key="k" * 20,
        state="ready",
        context=8192,
        started_at="2026-01-01T00:00:00Z",
        ready_at="2026-01-01T00:00:01Z",
        reason="it fits",
        devices=("CPU",),
        log="/log",
        estimate_bytes=3 * GIB,
        memory_bytes=2 * GIB,
    )
    return msgspec.structs.replace(running, **changes)


def a_file(path: str = "tiny.gguf", **changes: Any) -> FileProgress:
    """A file of 100 MB of which 61 came, at 2 MB/s."""
    file = FileProgress(
        path=path, downloaded=61 * MB, total=100 * MB, kept=0, rate=2.0 * MB, state="fetching"
    )
    return msgspec.structs.replace(file, **changes)


def a_job(job_id: str = "00000001", *, files: int = 1, **changes: Any) -> JobProgress:
    """A download that runs."""
    job = JobProgress(
        id=job_id,
        repo="acme/tiny",
        model_id="tiny",
        state="running",
        downloaded=61 * MB,
        total=100 * MB,
        kept=0,
        rate=2.0 * MB,
        seconds_left=19.5,
        created_at="2026-01-01T00:00:00Z",
        files=[a_file(f"part-{number}.gguf" if files > 1 else "tiny.gguf") for number in range(files)],
    )
    return msgspec.structs.replace(job, **changes)


def a_house(**values: Any) -> House:
    """A house that has these values; `jobs` may be a list."""
    house = House()
    for key, value in values.items():
        if key == "jobs":
            house.jobs = {job.id: job for job in value}
        else:
            setattr(house, key, value)
    return house
