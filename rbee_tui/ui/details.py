"""All that is known of a line, as text; and what of it can be copied. Pure."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rbee_tui.engine import addresses
from rbee_tui.engine.artifacts import Entry, Model, Worker
from rbee_tui.engine.jobs import JobProgress
from rbee_tui.engine.plain import as_dict
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.spans import span
from rbee_tui.engine.text import clean, counted, duration, memory, size, token_rate
from rbee_tui.engine.workers.deaths import Death
from rbee_tui.engine.workers.listening import NO_KEY, OPEN
from rbee_tui.engine.workers.record import RunningWorker
from rbee_tui.ui.lines import (
    ActivityLine,
    DeadLine,
    FileLine,
    JobLine,
    Line,
    ModelLine,
    ProcessLine,
    WorkerLine,
)

if TYPE_CHECKING:
    from rbee_tui.engine.about import About

Lines = list[tuple[str, str]]
_REPO_IN_URL = re.compile(r"https?://[^/]+/(?P<repo>[\w.-]+/[\w.-]+)/resolve/[^/]+/(?P<file>.+)$")


def of(line: Line, more: "About | None" = None) -> tuple[str, Lines]:
    """A title and the lines; of a model `more` is what its header and this machine say."""
    if isinstance(line, ModelLine):
        known = [*_fields(_model(line.entry)), *_files(line.entry)]
        return f"Model {clean(line.entry.id)}", [*known, *(_more(more) if more else [])]
    if isinstance(line, ProcessLine):
        return f"Worker on {clean(line.running.model)}", list(_fields(_process(line.running)))
    if isinstance(line, DeadLine):
        return f"What became of the worker of {clean(line.death.model)}", _death(line.death)
    if isinstance(line, WorkerLine):
        return f"Worker {clean(line.entry.id)}", list(_fields(_worker(line.entry)))
    if isinstance(line, ActivityLine):
        return f"{line.activity.verb} {clean(line.activity.id)}", [("it is under way", "")]
    return f"Download {line.job.id}", [*_fields(_job(line.job)), *_job_files(line.job)]


def _fields(pairs: Iterator[tuple[str, str]]) -> Lines:
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    return [(f"{name.rjust(width)}  {clean(value)}", "") for name, value in shown]


def _model(entry: Entry[Model]) -> Iterator[tuple[str, str]]:
    yield "id", entry.id
    yield "health", f"{entry.health}" + (f": {entry.reason}" if entry.reason else "")
    model = entry.artifact
    if model is not None:
        yield "name", model.name
        yield "version", model.version
        yield "status", _status(model.status)
        yield "size", f"{size(model.size_bytes)} ({model.size_bytes:,} bytes)"
        yield "architecture", model.architecture or ""
        yield "quantisation", model.quantization or ""
        yield "context", f"{model.context_length:,} tokens" if model.context_length else ""
        yield "licence", model.license or ""
        yield "repository", model.repo or ""
        yield "commit", model.revision or ""
        yield "follows", (model.requested_revision or MAIN) if model.repo else ""
        yield "source", model.source_url
        yield "verified", model.verified_at or "not yet"
    yield "created", entry.created_at or ""
    yield "updated", entry.updated_at or ""
    yield "directory", entry.directory


def _status(status: object) -> str:
    if isinstance(status, str):
        return status
    failure = as_dict(as_dict(status).get("Failed"))
    return f"Failed: {failure.get('error', '')}" if failure else str(status)


def _files(entry: Entry[Model]) -> Lines:
    model = entry.artifact
    if model is None or not model.files:
        return []
    lines: Lines = [("", ""), (counted(len(model.files), "file"), "strong")]
    for file in model.files:
        proof = file.sha256 or file.blob_id or "no hash"
        lines.append(
            (f"{size(file.size_bytes):>9}  {clean(file.role):9}  {clean(file.outside or file.path)}", "")
        )
        lines.append((f"{'':>9}  {clean(proof)}", "quiet"))  # a hash fits into 80 columns so
    return lines


def _more(more: "About") -> Lines:
    parts = (
        ("what its header says", [*more.header.items()]),
        ("where it fits", [*more.fit.items()]),
        (
            "here",
            [("bytes", more.held), ("projector", more.projector), ("served by", ", ".join(more.workers))],
        ),
    )
    lines: Lines = []
    for title, pairs in parts:
        if shown := _fields(iter(pairs)):
            lines += [("", ""), (title, "strong"), *shown]
    return lines


def _process(running: RunningWorker) -> Iterator[tuple[str, str]]:
    yield "model", running.model
    yield "state", running.state
    yield "read", _read(running)
    yield "worker", f"{running.worker} ({running.variant})"
    yield "because", running.reason
    yield "devices", ", ".join(running.devices)
    yield "URL", running.url
    yield "address", "" if addresses.is_loopback(running.host) else f"{running.host}, {OPEN}"
    yield "API key", "y copies it" if running.needs_key else NO_KEY
    yield "context", f"{running.context:,} tokens"
    yield (
        "layers",
        f"{running.gpu_layers} of {running.of_layers} on {running.device}" if running.gpu_layers else "",
    )
    yield "projector", running.projector
    yield "threads", str(running.threads) if running.threads else ""
    yield from _load(running)
    yield "foreseen", memory(running.estimate_bytes)
    yield "measured", _measured(running)
    yield "stays", _stay(running)
    yield "started again", f"{running.restarts} times; last: {running.crash}" if running.restarts else ""
    yield "pid", str(running.pid)
    yield "started", running.started_at
    yield "ready", running.ready_at or ""
    yield "log", running.log


def _read(running: RunningWorker) -> str:
    """How much of its model it has read while it loads, as its memory tells."""
    share = running.load_share
    if share is None:
        return ""
    return f"{int(100 * share)} % of the model" if share < 1 else "all of the model; it sets itself up"


def _load(running: RunningWorker) -> Iterator[tuple[str, str]]:
    load = running.load
    if load is None:
        return
    yield (
        "slots",
        f"{load.busy_slots} of {load.slots} answer" + (f", {load.waiting} wait" if load.waiting else ""),
    )
    yield "tokens/s", f"{token_rate(load.tokens_per_second)} now" if load.tokens_per_second else ""
    yield (
        "on average",
        f"{token_rate(load.mean_tokens_per_second)} tokens/s" if load.mean_tokens_per_second else "",
    )
    yield "tokens", f"{load.tokens_read:,} read, {load.tokens_written:,} written"


def _measured(running: RunningWorker) -> str:
    """What it takes beside what was foreseen, and of what kind it is."""
    measured = running.measured_bytes
    if not measured:
        return ""
    apart = 100 * (measured - running.estimate_bytes) / max(1, running.estimate_bytes)
    where = (
        f" ({memory(running.memory_bytes or 0)} of main memory, {memory(running.gpu_memory_bytes)} on GPUs)"
        if running.gpu_memory_bytes
        else " of main memory"
    )
    return f"{memory(measured)}{where}, {apart:+.0f} %"


def _stay(running: RunningWorker) -> str:
    """How long a worker stays, in words."""
    if running.pinned:
        return "however long nobody asks (pinned)"
    parts = [
        f"until nobody asks for {span(running.idle_seconds)}" if running.idle_seconds else "",
        "as long as the screen that started it" if running.ends_with_screen else "",
    ]
    return "; ".join(filter(None, parts)) or "until it is stopped"


def _death(death: Death) -> Lines:
    """A death certificate."""
    said = (
        ("because", death.sentence),
        ("what to do", death.hint),
        ("exit code", "" if death.code is None else str(death.code)),
        ("signal", death.signal or ""),
        ("ended", death.at or "nobody saw when"),
        ("started again", f"{death.restarts} times before" if death.restarts else ""),
        ("worker", death.worker),
        ("context", f"{death.context:,} tokens"),
    )
    last = [("", ""), ("the end of its log", "strong"), *((line, "quiet") for line in death.lines)]
    return [*_fields(iter(said)), *(last if death.lines else [])]


def _worker(entry: Entry[Worker]) -> Iterator[tuple[str, str]]:
    yield "id", entry.id
    yield "health", f"{entry.health}" + (f": {entry.reason}" if entry.reason else "")
    worker = entry.artifact
    if worker is not None:
        yield "name", worker.name
        yield "version", worker.version
        yield "type", worker.worker_type
        yield "runtime", worker.runtime or ""
        yield "capabilities", ", ".join(worker.capabilities)
        yield "devices", ", ".join(worker.devices)
        yield "platforms", ", ".join(worker.platforms)
        yield "binary", worker.binary_path
        yield "python", worker.python or ""
        yield "catalog", worker.catalog or ""
        yield "signed by", worker.signed_by or ""
        yield "sha256", worker.sha256 or ""
    yield "created", entry.created_at or ""
    yield "updated", entry.updated_at or ""
    yield "directory", entry.directory


def _job(job: JobProgress) -> Iterator[tuple[str, str]]:
    yield "job", job.id
    yield "model", job.model_id
    yield "repository", job.repo
    yield "state", job.state
    yield "done", f"{size(job.downloaded)} of {size(job.total)}"
    yield "kept", f"{size(job.kept)} were here from before" if job.kept else ""
    yield "rate", f"{size(int(job.rate))}/s" if job.rate > 0 else ""
    yield "left", duration(job.seconds_left) if job.seconds_left is not None else ""
    yield "run by", f"pid {job.holder} ({job.holder_verb})" if job.holder else ""
    yield "asked for", job.created_at
    yield "error", job.error
    yield "what to do", job.hint


def _job_files(job: JobProgress) -> Lines:
    lines: Lines = [("", ""), (counted(len(job.files), "file"), "strong")]
    for file in job.files:
        amount = f"{size(file.downloaded)} of {size(file.total)}"
        said = clean(file.waiting_for or file.state)
        lines.append((f"{amount:>21}  {said:12}  {clean(file.path)}", ""))
        if file.error and len(job.files) > 1:
            lines.append((f"{'':>21}  {clean(file.error)}", "wrong"))
    return lines


def copyable(line: Line, host: str) -> list[tuple[str, str]]:
    """What can be copied of a line, each with its name; `host` is this machine's name for an ssh client."""
    if isinstance(line, ModelLine):
        found = [("id", line.entry.id), ("directory", line.entry.directory)]
        if line.entry.artifact is not None:
            found.append(("source", line.entry.artifact.source_url))
        return [*found, *(_of_process(line.running, host) if line.running else [])]
    if isinstance(line, ProcessLine):
        return [("id", line.running.model), *_of_process(line.running, host), ("log", line.running.log)]
    if isinstance(line, DeadLine):
        return [("id", line.death.model), ("log's end", "\n".join(line.death.lines))]
    if isinstance(line, WorkerLine):
        return [("id", line.entry.id), ("directory", line.entry.directory)]
    if isinstance(line, JobLine | FileLine):
        return [("job", line.job.id), ("model", line.job.model_id), ("repository", line.job.repo)]
    return [("id", line.activity.id)]


def _of_process(running: RunningWorker, host: str) -> list[tuple[str, str]]:
    if not running.port:
        return []
    return [
        ("URL", f"{running.url}/v1"),
        *([("API key", running.api_key)] if running.needs_key else []),
        *_ssh_line(running, host),
    ]


def _ssh_line(running: RunningWorker, host: str) -> list[tuple[str, str]]:
    """What brings its port to another machine, where nothing else does."""
    if not addresses.is_loopback(running.host):
        return []
    there = f"{addresses.written(running.host)}:{running.port}"
    return [("ssh line", f"ssh -N -L {running.port}:{there} {host}")]


def source(model: Model) -> tuple[str, str | None] | None:
    """The repository and the file that a model came from; None where nothing says it."""
    named = _REPO_IN_URL.match(model.source_url)
    if model.repo:
        return model.repo, named["file"] if named else None
    return (named["repo"], named["file"]) if named else None
