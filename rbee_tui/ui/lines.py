"""From what is known to lines of cells, one for each thing. Pure; widths are in terminal cells.

It is over 400 lines because the panes share their words: a download is called the same in all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, overload

from rbee_tui.engine.artifacts import AVAILABLE, DOWNLOADING, Entry, Health, Model, Worker
from rbee_tui.engine.jobs import FileProgress, JobProgress
from rbee_tui.engine.text import clean, duration, memory, size, size_as, token_rate
from rbee_tui.engine.workers.deaths import Death
from rbee_tui.engine.workers.record import RunningWorker
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.house import Activity, House

THOUSAND = 1024


@dataclass(frozen=True)
class Column:
    """A column of a list: `width` cells, or with `weight` a share of what is left."""

    title: str
    width: int
    right: bool = False
    weight: int = 0
    cell: int | None = None
    """Which of a line's cells it shows; its own place's without."""


@dataclass(frozen=True)
class Cell:
    """A text and the name of its style."""

    text: str
    style: str = ""
    span: int = 1
    """How many columns it takes; the cells for the others are left out of sight."""
    head: int | None = None
    """Where it must be cut, its end stays, and so many characters of its beginning; else its beginning."""


_NONE = Cell("")


@dataclass(frozen=True, slots=True)
class ModelLine:
    """A model, and what goes on with it."""

    entry: Entry[Model]
    job: JobProgress | None = None
    running: RunningWorker | None = None
    activity: Activity | None = None
    newer: bool = False
    """Whether the Hub has newer files."""

    @property
    def key(self) -> str:
        """What stays the same while the line changes."""
        return self.entry.id

    @property
    def comes(self) -> bool:
        """Whether a download brings it, also one that is paused: it is that which can be ended."""
        return self.job is not None and not self.job.is_over


@dataclass(frozen=True)
class ProcessLine:
    """A worker that runs on a model."""

    running: RunningWorker

    @property
    def key(self) -> str:
        """What stays the same while the line changes."""
        return f"run:{self.running.model}"


@dataclass(frozen=True)
class DeadLine:
    """A worker that ended by itself, until the model's next start."""

    death: Death

    @property
    def key(self) -> str:
        """What stays the same while the line changes."""
        return f"dead:{self.death.model}"


@dataclass(frozen=True)
class ActivityLine:
    """An install or a start that has no line of its own yet."""

    activity: Activity

    @property
    def key(self) -> str:
        """What stays the same while the line changes."""
        return f"activity:{self.activity.verb}:{self.activity.id}"


@dataclass(frozen=True)
class WorkerLine:
    """An installed worker."""

    entry: Entry[Worker]

    @property
    def key(self) -> str:
        """What stays the same while the line changes."""
        return f"worker:{self.entry.id}"


@dataclass(frozen=True)
class JobLine:
    """A download; of one file, it is that file's line, too."""

    job: JobProgress

    @property
    def key(self) -> str:
        """What stays the same while the line changes."""
        return self.job.id


@dataclass(frozen=True)
class FileLine:
    """One file of a download that has several."""

    job: JobProgress
    file: FileProgress

    @property
    def key(self) -> str:
        """What stays the same while the line changes."""
        return f"{self.job.id}/{self.file.path}"

    @property
    def steered_alone(self) -> bool:
        """Whether keys steer this file rather than its job."""
        if self.job.state in ("running", "queued"):
            return self.file.state != "done"
        return self.job.state == "failed" and self.file.state in ("failed", "cancelled")


Line: TypeAlias = ModelLine | ProcessLine | DeadLine | ActivityLine | WorkerLine | JobLine | FileLine


# Models

MODEL_COLUMNS = (
    Column("SIZE", 9, right=True),
    Column("QUANT", 7),
    Column("CTX", 5, right=True),
    Column("STATUS", 14),
    Column("NAME", 16, weight=1),
)
NARROW_MODEL_COLUMNS = (
    Column("SIZE", 9, right=True),
    Column("STATUS", 14, cell=3),
    Column("NAME", 16, weight=1, cell=4),
)


UnderWay: TypeAlias = tuple[JobProgress | None, RunningWorker | None, Activity | None, bool]
"""What goes on with a model, as a line of it has it."""
_NOTHING: UnderWay = (None, None, None, False)


def models_under_way(house: House) -> dict[str, UnderWay]:
    """What goes on with each model with which anything does."""
    jobs = {job.model_id: job for job in house.jobs.values() if job.state not in ("done", "cancelled")}
    running = {each.model: each for each in house.running}
    doing = {each.id: each for each in house.activities.values() if each.verb != "installing"}
    ids = jobs.keys() | running.keys() | doing.keys() | house.newer.keys()
    return {each: (jobs.get(each), running.get(each), doing.get(each), each in house.newer) for each in ids}


class ModelLines(Sequence[ModelLine]):
    """The lines of these models, each made when it is looked at: of thousands one sees a few."""

    def __init__(self, entries: Sequence[Entry[Model]], under_way: Mapping[str, UnderWay]) -> None:
        self._entries = entries
        self._under_way = under_way

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> ModelLine: ...
    @overload
    def __getitem__(self, index: slice) -> "ModelLines": ...
    def __getitem__(self, index: int | slice) -> "ModelLine | ModelLines":
        if isinstance(index, slice):
            return ModelLines(self._entries[index], self._under_way)
        return self._line(self._entries[index])

    def __iter__(self) -> Iterator[ModelLine]:
        return map(self._line, self._entries)

    def _line(self, entry: Entry[Model]) -> ModelLine:
        return ModelLine(entry, *self._under_way.get(entry.id, _NOTHING))


def model_lines(house: House) -> ModelLines:
    """A line for each model of the catalog, those that are still coming among them."""
    return ModelLines(house.models, models_under_way(house))


def model_cells(line: ModelLine, glyphs: Glyphs) -> tuple[Cell, ...]:
    """Size, quantisation, context, status with its glyph, name."""
    model = line.entry.artifact
    status, style = model_status(line, glyphs)
    return (
        Cell(size(model.size_bytes) if model else ""),
        Cell(clean(model.quantization or "") if model else "", "quiet"),
        Cell(context(model.context_length) if model else "", "quiet"),
        Cell(status, style),
        Cell(clean(line.entry.id)),
    )


def model_status(line: ModelLine, glyphs: Glyphs) -> tuple[str, str]:
    """What a model's status is in a word, with a glyph, and the name of its style."""
    entry, job = line.entry, line.job
    activity = line.activity
    # The process that a start has brought about tells more than the start.
    if line.running is not None and (activity is None or activity.verb == "starting"):
        return process_state(line.running, glyphs)
    if activity is not None:
        share = f" {100 * activity.share:.0f} %" if activity.share is not None else ""
        return f"{glyphs.busy} {activity.verb}{share}", "busy"
    if job is not None and entry.health is not Health.OK:
        return _job_status(job, glyphs)
    if entry.health is Health.OK:
        return (f"{glyphs.newer} newer", "accent") if line.newer else _well(entry, glyphs)
    if entry.health in (Health.DAMAGED, Health.BROKEN):
        return f"{glyphs.wrong} {entry.health}", "wrong"
    return f"{glyphs.dash} {entry.health}", "busy"


def _job_status(job: JobProgress, glyphs: Glyphs) -> tuple[str, str]:
    share = f"{percent(job.downloaded, job.total)} %"
    if job.state == "failed":
        return f"{glyphs.wrong} failed {share}", "wrong"
    if job.state in ("running", "queued", "pausing"):
        return f"{glyphs.busy} {'coming' if job.state == 'running' else job.state} {share}", "busy"
    return f"{glyphs.paused} {'paused' if job.state == 'paused' else 'halted'} {share}", "busy"


def _well(entry: Entry[Model], glyphs: Glyphs) -> tuple[str, str]:
    model = entry.artifact
    if model is None or model.status not in (AVAILABLE, DOWNLOADING):
        return f"{glyphs.dash} {entry.health}", "busy"
    return (f"{glyphs.ok} verified", "ok") if model.verified_at else (f"{glyphs.ok} whole", "ok")


def context(tokens: int | None) -> str:
    """A context length as people write it: `128k`, `8k`, `512`."""
    if not tokens:
        return ""
    return f"{tokens // THOUSAND}k" if tokens >= THOUSAND else str(tokens)


# Workers

WORKER_COLUMNS = (
    Column("STATE", 12),
    Column("MEMORY", 9, right=True),
    Column("TOK/S", 6, right=True),
    Column("PORT", 6, right=True),
    Column("NAME", 16, weight=1),
)
NARROW_WORKER_COLUMNS = (
    Column("STATE", 12),
    Column("MEMORY", 9, right=True),
    Column("TOK/S", 6, right=True),
    Column("NAME", 16, weight=1, cell=4),
)
_SHOWN_BY_THEMSELVES = frozenset({"installing", "starting"})


def worker_lines(house: House) -> list[Line]:
    """What runs first, then what is about to, what ended by itself, and what is installed."""
    loading = {each.model for each in house.running}
    doing = [
        ActivityLine(each)
        for each in house.activities.values()
        if each.verb in _SHOWN_BY_THEMSELVES and each.id not in loading
    ]
    dead = [DeadLine(each) for each in house.deaths if each.model not in loading]
    return [*map(ProcessLine, house.running), *doing, *dead, *map(WorkerLine, house.workers)]


def worker_cells(line: Line, glyphs: Glyphs) -> tuple[Cell, ...]:
    """State, memory, rate, port and name of a running worker; state, name and version of an installed one."""
    if isinstance(line, ProcessLine):
        each = line.running
        state, style = process_state(each, glyphs)
        held = memory(each.measured_bytes) if each.measured_bytes else ""
        rate = token_rate(each.load.tokens_per_second) if each.load and each.load.tokens_per_second else ""
        port = f":{each.port}" if each.port else ""
        return (
            Cell(state, style),
            Cell(held),
            Cell(rate, "accent"),
            Cell(port, "accent"),
            Cell(clean(each.model)),
        )
    if isinstance(line, ActivityLine):
        return _named(Cell(f"{glyphs.busy} {line.activity.verb}", "busy"), Cell(clean(line.activity.id)))
    if isinstance(line, DeadLine):
        word, style = ("unloaded", "quiet") if line.death.in_order else (f"{glyphs.wrong} gone", "wrong")
        said = f"{clean(line.death.model)}: {line.death.sentence}"
        return (
            Cell(word, style),
            Cell(said, "" if style == "quiet" else style, span=4),
            Cell(""),
            Cell(""),
            Cell(""),
        )
    assert isinstance(line, WorkerLine)  # noqa: S101 - for the type checker: the pane has no other lines
    entry = line.entry
    worker = entry.artifact
    if entry.health is Health.OK:
        state = Cell(f"{glyphs.ok} installed", "quiet")
    else:
        state = Cell(f"{glyphs.wrong} {entry.health}", "wrong")
    version = clean(worker.version) if worker else ""
    return _named(state, Cell(clean(entry.id), "quiet"), Cell(version, "quiet", span=2))


def _named(state: Cell, name: Cell, said: Cell = _NONE) -> tuple[Cell, ...]:
    """What has a state and a name, and at most a word in the place of its figures."""
    return state, said, _NONE, _NONE, name


def process_state(running: RunningWorker, glyphs: Glyphs) -> tuple[str, str]:
    """A worker process's state with its glyph, and the name of its style."""
    if running.state == "ready":
        return f"{glyphs.ok} ready", "ok"
    if running.state in ("unhealthy", "restarting"):
        return f"{glyphs.wrong} {running.state}", "wrong"
    return f"{glyphs.busy} {_loaded(running) or running.state}", "busy"


def _loaded(running: RunningWorker) -> str:
    """How much of its model it has read; empty where nothing tells it, and once it is all read."""
    share = running.load_share if running.state == "loading" else None
    return f"{int(100 * share)} % read" if share is not None and share < 1 else ""


# Downloads

DOWNLOAD_COLUMNS = (
    Column("DONE", 6, right=True),
    Column("RATE", 10, right=True),
    Column("LEFT", 7, right=True),
    Column("", 10, weight=2),
    Column("SIZE", 14, right=True),
    Column("KEPT", 8, right=True),
    Column("CONN", 4, right=True, cell=7),
    Column("NAME", 18, weight=3, cell=6),
)
NARROW_DOWNLOAD_COLUMNS = (
    Column("DONE", 6, right=True),
    Column("RATE", 10, right=True),
    Column("LEFT", 7, right=True),
    Column("", 10),
    Column("SIZE", 14, right=True),
    Column("NAME", 14, weight=1, cell=6),
)
SINGLE_DOWNLOAD_COLUMNS = (
    Column("DONE", 6, right=True),
    Column("RATE", 10, right=True),
    Column("LEFT", 7, right=True),
    Column("", 2),
    Column("NAME", 12, weight=1, cell=6),
)
_MOST_FILES = 40


def download_lines(house: House) -> list[Line]:
    """A line for each download, and below one that is under way a line for each of its files."""
    lines: list[Line] = []
    for job in house.listed_jobs():
        lines.append(JobLine(job))
        if len(job.files) > 1 and job.state not in ("done", "cancelled"):
            lines.extend(FileLine(job, file) for file in job.files[:_MOST_FILES])
    return lines


def download_cells(line: Line, glyphs: Glyphs) -> tuple[Cell, ...]:
    """Share, rate, time left, a bar to be drawn, size, what was kept, name, connections."""
    if isinstance(line, FileLine):
        return _file_cells(line, glyphs)
    assert isinstance(line, JobLine)  # noqa: S101 - for the type checker: the pane has no other lines
    job = line.job
    name = clean(job.model_id)
    return (
        Cell(f"{percent(job.downloaded, job.total)} %"),
        *_job_progress(job, glyphs),
        Cell(_amount(job.downloaded, job.total, done=job.state == "done")),
        Cell(size(job.kept) if job.kept and job.state != "done" else "", "quiet"),
        Cell(name if not job.error else f"{name}: {clean(job.error)}"),
        Cell(_connections(job.connections), "quiet"),
    )


def _file_cells(line: FileLine, glyphs: Glyphs) -> tuple[Cell, ...]:
    file = line.file
    moving = file.state == "fetching" and line.job.state == "running"
    words = {
        "fetching": "",
        "queued": f"{glyphs.busy} queued",
        "done": f"{glyphs.ok} verified",
        "failed": f"{glyphs.wrong} failed",
    }
    word = words.get(file.state, clean(file.state))
    if file.waiting_for:
        word = f"{glyphs.busy} {clean(file.waiting_for)}"
    return (
        Cell(f"{percent(file.downloaded, file.total)} %", "quiet"),
        *_rate_and_left(file, moving, word),
        Cell(_amount(file.downloaded, file.total, done=file.state == "done"), "quiet"),
        Cell(size(file.kept) if file.kept and file.state != "done" else "", "quiet"),
        _file_name(file, glyphs),
        Cell(_connections(file.connections), "quiet"),
    )


def _file_name(file: FileProgress, glyphs: Glyphs) -> Cell:
    """Of many files of one model only the ends of the names differ."""
    if file.error:
        return Cell(f"{glyphs.branch} {clean(f'{file.path}: {file.error}')}", "quiet")
    return Cell(f"{glyphs.branch} {clean(file.path)}", "quiet", head=len(glyphs.branch) + 1)


def _job_progress(job: JobProgress, glyphs: Glyphs) -> tuple[Cell, ...]:
    """Rate, time left and room for a bar; or in the place of all three what is the matter."""
    waits = _waits(job)
    if job.state == "running" and not waits:
        left = duration(job.seconds_left) if job.seconds_left is not None else ""
        return Cell(_rate(job.rate), "accent"), Cell(left), Cell("")
    word, style = (f"{glyphs.busy} {waits}", "busy") if waits else _job_word(job, glyphs)
    return _in_place_of_three(word, style)


def _rate_and_left(file: FileProgress, moving: bool, word: str) -> tuple[Cell, ...]:  # noqa: FBT001 - one caller
    if word or not moving:
        style = {"done": "ok", "failed": "wrong"}.get(file.state, "quiet")
        return _in_place_of_three(word, style)
    left = duration((file.total - file.downloaded) / file.rate) if file.rate > 0 else ""
    return Cell(_rate(file.rate), "quiet"), Cell(left, "quiet"), Cell("")


def _in_place_of_three(word: str, style: str) -> tuple[Cell, ...]:
    return Cell(f"  {word}", style, span=3), Cell(""), Cell("")


def share_of(line: Line) -> float | None:
    """How much of a download's bar is full, from 0 to 1; None for a line that shows a word instead."""
    if isinstance(line, FileLine):
        moving = line.file.state == "fetching" and not line.file.waiting_for
        return line.file.downloaded / line.file.total if moving and line.file.total else None
    if isinstance(line, JobLine) and line.job.state == "running" and not _waits(line.job):
        return line.job.downloaded / line.job.total if line.job.total else None
    return None


def _waits(job: JobProgress) -> str:
    """What a download waits for, where none of its files brings anything."""
    if job.rate > 0:
        return ""
    return next((clean(file.waiting_for) for file in job.files if file.waiting_for), "")


def _job_word(job: JobProgress, glyphs: Glyphs) -> tuple[str, str]:
    if job.state == "done":
        return f"{glyphs.ok} verified", "ok"
    if job.state in ("failed", "not responding"):
        return f"{glyphs.wrong} {job.state}", "wrong"
    if job.state in ("paused", "interrupted", "foreign"):
        return f"{glyphs.paused} {job.state}", "busy"
    return ("" if job.state == "running" else f"{glyphs.busy} {job.state}"), "busy"


def _connections(count: int) -> str:
    return str(count) if count else ""


def _rate(rate: float) -> str:
    return f"{size(int(rate))}/s" if rate > 0 else ""


def _amount(downloaded: int, total: int, *, done: bool) -> str:
    return size(total) if done else f"{size_as(downloaded, total)}/{size(total)}"


def percent(part: int, whole: int) -> int:
    """Whole percents, rounded down so that 100 means all of it."""
    return 100 * part // whole if whole else 100


def bar(share: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """A bar of so many cells, drawn in half cells: what is full of it, and the rest."""
    halves = max(0, min(2 * width, int(2 * width * share)))
    full = glyphs.bar * (halves // 2) + (glyphs.bar_end if halves % 2 else "")
    return full, glyphs.bar_rest * (width - len(full))
