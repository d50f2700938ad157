"""A death certificate: what ended a worker, told from its keeper's note and the end of its log. Pure."""

import re
import signal
from datetime import UTC, datetime
from typing import Literal

import msgspec

from rbee_tui.engine.errors import (
    BrokenModelError,
    CpuFeatureError,
    NoSpaceError,
    OutOfMemoryError,
    PortBusyError,
    RbeeError,
    WorkerError,
)
from rbee_tui.engine.text import clean, counted, duration
from rbee_tui.engine.workers.record import Exit

Cause = Literal[
    "kernel_oom",
    "gpu_oom",
    "host_oom",
    "cpu_feature",
    "port_busy",
    "no_space",
    "broken_projector",
    "broken_model",
    "signal",
    "exit",
    "not_started",
    "idle",
    "screen",
    "unseen",
]
OF_MEMORY: frozenset[Cause] = frozenset({"kernel_oom", "gpu_oom", "host_oom"})
IN_ORDER: frozenset[Cause] = frozenset({"idle", "screen"})
"""Its keeper ended it, as it was told to."""
LAST_LINES = 15
_SIGILL = "this processor lacks an instruction that it was built for (SIGILL)"
_SMALLER = "stop another worker, give a smaller --context, or take a smaller quantisation"

# What llama.cpp and its back ends write; in this order: a failed allocation is told as a failed load, too.
_IN_LOG: tuple[tuple[Cause, re.Pattern[str]], ...] = (
    (
        "gpu_oom",
        re.compile(
            r"CUDA error: out of memory|cudaMalloc failed: out of memory|hipMalloc failed: out of memory"
            r"|ErrorOutOfDeviceMemory|(?:unable|failed) to allocate (?:CUDA|ROCm|Vulkan|Metal|MTL)\w* buffer"
            r"|ggml_metal\S* error: .*(?:insufficient|out of) memory|CommandBufferCallbackErrorOutOfMemory",
            re.IGNORECASE,
        ),
    ),
    (
        "host_oom",
        re.compile(
            r"(?:unable|failed) to allocate .*(?:buffer|memory|bytes|MiB|MB)|std::bad_alloc"
            r"|Cannot allocate memory|^MemoryError\b|mmap failed: .*memory",
            re.MULTILINE,
        ),
    ),
    ("cpu_feature", re.compile(r"needs a processor with (.+?), which this one has not")),
    (
        "port_busy",
        re.compile(r"[Aa]ddress already in use|couldn't bind|failed to (?:bind|listen)|bind\(\) failed"),
    ),
    ("no_space", re.compile(r"No space left on device|Disk quota exceeded")),
    (
        "broken_projector",
        re.compile(
            r"failed to load multimodal model|the projector could not be loaded"
            r"|((?:this version of )?llama-cpp-python (?:cannot load a projector|shows pictures only)[^;\n]*)"
        ),
    ),
    (
        "broken_model",
        re.compile(
            r"error loading model: (.+)|invalid magic characters|failed to load model|could not be loaded"
        ),
    ),
)
_ERRORS: dict[Cause, type[RbeeError]] = {
    "kernel_oom": OutOfMemoryError,
    "gpu_oom": OutOfMemoryError,
    "host_oom": OutOfMemoryError,
    "cpu_feature": CpuFeatureError,
    "port_busy": PortBusyError,
    "no_space": NoSpaceError,
    "broken_projector": BrokenModelError,
    "broken_model": BrokenModelError,
}


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker ended, with what may be done about it."""

    model: str
    worker: str
    cause: Cause
    sentence: str
    """What ended it, as the end of a sentence about it: `it was ended by SIGSEGV`."""
    hint: str = ""
    code: int | None = None
    """Its exit code."""
    signal: str | None = None
    """The signal that ended it, by name."""
    at: str = ""
    """RFC 3339 in UTC; empty where nobody saw it."""
    restarts: int = 0
    """How often it had been started again before."""
    context: int = 0
    """The tokens that it was started with."""
    retry_context: int | None = None
    """A context with which it would fit now; None where none would, or memory was not the matter."""
    lines: tuple[str, ...] = ()
    """The end of its log, made safe to show."""

    @property
    def in_order(self) -> bool:
        """Whether its keeper ended it as it was told to."""
        return self.cause in IN_ORDER


def certify(
    model: str, worker: str, note: Exit | None, log: str, *, context: int = 0, idle: int = 0
) -> Death:
    """The certificate of a worker from its keeper's note, None where there is none, and the end of its log.

    `context` is what it was started with, `idle` the seconds after which it was to be unloaded.
    """
    cause, found = _cause(note, log)
    number = note.signal if note else None
    return Death(
        model=model,
        worker=worker,
        cause=cause,
        sentence=_sentence(cause, note, found, idle) + _restarted(note),
        hint=_hint(cause, clean(model)),
        code=note.code if note else None,
        signal=None if number is None else _name(number),
        at=datetime.fromtimestamp(note.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if note and note.at else "",
        restarts=note.restarts if note else 0,
        context=context,
        lines=tuple(clean(line) for line in log.splitlines()[-LAST_LINES:]),
    )


def smaller(model_id: str, context: int) -> str:
    """The hint that a start with less context would fit."""
    return f"a context of {context:,} tokens would fit now: rbee start {clean(model_id)} --context {context}"


def with_retry(death: Death, context: int | None) -> Death:
    """The certificate with the context that would fit now, and the words for it."""
    if context is None or not 0 < context < (death.context or context + 1):
        return death
    return msgspec.structs.replace(death, retry_context=context, hint=smaller(death.model, context))


def error_of(death: Death) -> RbeeError:
    """The error of a start that came to nothing by this death."""
    message = f"{clean(death.worker)} did not come up on {clean(death.model)}: {death.sentence}"
    hint = death.hint or f"rbee logs {clean(death.model)} shows its whole log"
    kind = _ERRORS.get(death.cause, WorkerError)
    error = kind(message, hint=hint)
    if isinstance(error, WorkerError):
        error.log = "\n".join(death.lines)
    error.details["death"] = msgspec.to_builtins(death)
    if death.retry_context:
        error.details["retry_context"] = death.retry_context
    return error


def _cause(note: Exit | None, log: str) -> tuple[Cause, str]:
    """The cause, and the words of the log that tell more of it."""
    if note is None:
        return "unseen", ""
    if told := _noted(note):
        return told, ""
    for cause, pattern in _IN_LOG:
        if found := pattern.search(log):
            return cause, clean(next((group for group in found.groups() if group), ""))
    return ("exit" if note.signal is None else "signal"), ""


def _noted(note: Exit) -> Cause | None:
    """The cause where the note alone tells it; a runtime that aborts says why in its log."""
    named: tuple[tuple[bool, Cause], ...] = (
        (bool(note.error), "not_started"),
        (note.why == "idle", "idle"),
        (note.why == "screen", "screen"),
        (note.oom, "kernel_oom"),
        (note.signal == signal.SIGILL, "cpu_feature"),
        (note.signal not in (None, signal.SIGABRT), "signal"),
    )
    return next((cause for holds, cause in named if holds), None)


def _sentence(cause: Cause, note: Exit | None, found: str, idle: int) -> str:
    signalled = _name(note.signal or 0) if note else ""
    words: dict[Cause, str] = {
        "kernel_oom": "the kernel ended it because memory ran out (SIGKILL)",
        "gpu_oom": "the GPU has not enough free memory for it",
        "host_oom": "it found no memory for the model",
        "cpu_feature": f"this processor has no {found}" if found else _SIGILL,
        "port_busy": "its port is taken by another program",
        "no_space": "the disk is full",
        "broken_projector": f"its projector cannot be loaded{': ' if found else ''}{found}",
        "broken_model": f"the model cannot be loaded{': ' if found else ''}{found}",
        "signal": f"it was ended by {signalled}",
        "exit": f"it ended with exit code {note.code if note else None}",
        "not_started": clean(note.error) if note else "",
        "idle": f"it was unloaded: nobody asked it anything for {duration(idle)}",
        "screen": "it ended with the screen that had started it",
        "unseen": "its process is gone, and nobody saw how it ended",
    }
    return words[cause]


def _restarted(note: Exit | None) -> str:
    count = note.restarts if note else 0
    return f", after it was started again {counted(count, 'time')}" if count else ""


def _hint(cause: Cause, model: str) -> str:
    """What to do about it; `model` is safe to show."""
    hints: dict[Cause, str] = {
        "kernel_oom": _SMALLER,
        "gpu_oom": f"{_SMALLER}; --gpu-layers puts a part of it on the GPU",
        "host_oom": _SMALLER,
        "cpu_feature": "rbee workers list shows the workers that run on this processor",
        "port_busy": "end the program that has it, or give another one with --port",
        "no_space": "df says which disk is full; rbee models remove MODEL frees what a model takes",
        "broken_projector": f"rbee start {model} --no-projector serves text only; rbee models verify {model} "
        "compares its hash",
        "broken_model": f"rbee models verify {model} compares its hash; a newer worker may know its kind",
    }
    return hints.get(cause, "")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
