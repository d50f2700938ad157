"""What a running worker does now: tokens per second, requests, slots; and the memory of its processes."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rbee_tui.engine.hardware.nvml import Library
from rbee_tui.engine.plain import as_dict, as_list
from rbee_tui.engine.workers import profiles, ready
from rbee_tui.engine.workers.prompting import generation_rate
from rbee_tui.engine.workers.record import Load, Running

_SECONDS = 0.5
_FIGURE = re.compile(r"^llamacpp:(\w+) ([\d.e+-]+)$", re.MULTILINE)
_KEPT = 64


class Figures(msgspec.Struct, frozen=True):
    """What a runtime tells at one look."""

    written: int
    """Tokens since it was started, those of unfinished answers among them."""
    read: int
    seconds: float
    """Spent on the finished answers."""
    finished: int
    """Tokens of the finished answers."""
    processing: int
    waiting: int
    slots: int
    busy: int


class Watcher:
    """Looks at workers again and again: a rate is what came between two looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: dict[str, tuple[float, int]] = {}
        self._nvml = Library()

    def load(self, record: Running, key: str) -> Load | None:
        """What a worker does now; None where its runtime does not tell."""
        if not record.ready_at or not record.port or not profiles.tells(record.runtime):
            return None
        metrics = ready.fetch(record, "/metrics", key, _SECONDS)
        slots = ready.fetch(record, "/slots", key, _SECONDS)
        figures = figures_of(metrics, slots) if metrics is not None else None
        return self._told(record, figures, self._clock()) if figures else None

    def _told(self, record: Running, figures: Figures, at: float) -> Load:
        before = self._before.pop(record.cookie, None)
        self._before = dict([*self._before.items(), (record.cookie, (at, figures.written))][-_KEPT:])
        rate = None
        if before is not None and at > before[0]:
            rate = round(max(0, figures.written - before[1]) / (at - before[0]), 1)
        mean = generation_rate(figures.finished, figures.seconds)
        return Load(
            tokens_per_second=rate if rate is not None else None if figures.processing else 0.0,
            mean_tokens_per_second=None if mean is None else round(mean, 1),
            requests=figures.processing,
            waiting=figures.waiting,
            slots=figures.slots or record.slots,
            busy_slots=figures.busy,
            tokens_written=figures.written,
            tokens_read=figures.read,
        )

    def gpu_memory(self, record: Running) -> int | None:
        """Bytes that its processes have on GPUs; None where it runs on none, or the driver does not tell."""
        if record.who is None or record.variant != "cuda":
            return None
        return of_processes(self._nvml.processes(), ready.family(record.who.pid))


def of_processes(held: Mapping[int, int], pids: list[int]) -> int | None:
    """The bytes of these processes together; None where none of them is known."""
    found = [held[pid] for pid in pids if pid in held]
    return sum(found) if found else None


def figures_of(metrics: bytes, slots: bytes | None) -> Figures | None:
    """The figures in what `/metrics` and `/slots` answer; None where the first is not llama.cpp's. Pure."""
    told = {name: float(value) for name, value in _FIGURE.findall(metrics.decode(errors="replace"))}
    if "tokens_predicted_total" not in told:
        return None
    each = [as_dict(slot) for slot in as_list(_decoded(slots))]
    busy = [slot for slot in each if slot.get("is_processing") is True]
    finished = int(told["tokens_predicted_total"])
    return Figures(
        written=finished + sum(map(_unfinished, busy)),
        read=int(told.get("prompt_tokens_total", 0)),
        seconds=told.get("tokens_predicted_seconds_total", 0.0),
        finished=finished,
        processing=int(told.get("requests_processing", 0)),
        waiting=int(told.get("requests_deferred", 0)),
        slots=len(each),
        busy=len(busy),
    )


def _unfinished(slot: Mapping[str, Any]) -> int:
    """Tokens of an answer that is under way; newer servers list them, older ones have one."""
    told = slot.get("next_token")
    first = as_dict(told) or as_dict(next(iter(as_list(told)), None))
    count = first.get("n_decoded")
    return count if isinstance(count, int) and count > 0 else 0


def _decoded(raw: bytes | None) -> Any:
    try:
        return msgspec.json.decode(raw or b"null")
    except msgspec.DecodeError:
        return None
