"""The errors of the engine: one small hierarchy, each with a text that is fit for a person."""

from typing import Any, ClassVar


class RbeeError(Exception):
    """Something that rbee could not do: `str()` says what was wrong, `hint` what to do about it."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.details: dict[str, Any] = {}
        """What a script may want beside the sentence, as plain data."""


class UsageError(RbeeError):
    """The request itself makes no sense: a bad name, a bad number."""

    code = "usage"
    exit_code = 2


class NotFoundError(RbeeError):
    """There is no such model, worker, job, repository, revision or file."""

    code = "not_found"
    exit_code = 3


class BusyError(RbeeError):
    """Somebody else holds what is needed; the text names the holder's pid and verb."""

    code = "busy"
    exit_code = 4


class PortBusyError(BusyError):
    """A port that a worker was to have is taken; the text names it."""

    code = "port_busy"


class RefusedError(RbeeError):
    """It could be done, but must not be: foreign, unsafe, in use."""

    code = "refused"
    exit_code = 4


class DoesNotFitError(RefusedError):
    """A model needs more memory than there is; the text has the figures."""

    code = "does_not_fit"


class NetworkError(RbeeError):
    """The other side cannot be reached, or stopped answering."""

    code = "network"
    exit_code = 5


class HubError(NetworkError):
    """The Hub answered with something that cannot be used."""

    code = "hub"


class RateLimitedError(HubError):
    """The Hub asked for fewer requests (429); `retry_after` is in seconds, None when it did not say."""

    code = "rate_limited"

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class AccessError(RbeeError):
    """The Hub refuses this user (401, 403): private, gated, or a bad token."""

    code = "access"
    exit_code = 6


class NoSpaceError(RbeeError):
    """The disk has no room for it; the text has the figures."""

    code = "no_space"
    exit_code = 7


class IntegrityError(RbeeError):
    """Bytes do not match their hash or their size."""

    code = "integrity"
    exit_code = 8


class WorkerError(RbeeError):
    """A worker could not be installed, started or asked; `log` holds the last lines of its log."""

    code = "worker"
    exit_code = 9

    def __init__(self, message: str, *, hint: str = "", log: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log = log


class BrokenModelError(WorkerError):
    """A model's file cannot be loaded: no GGUF, damaged, or of a kind that the runtime does not know."""

    code = "broken_model"


class CpuFeatureError(WorkerError):
    """The processor lacks what a worker was built for."""

    code = "cpu_feature"


class OutOfMemoryError(WorkerError):
    """A worker found no memory, or the kernel ended it for that; the text says which, and what would fit."""

    code = "out_of_memory"


class PausedError(RbeeError):
    """The job was paused, by this user or by another rbee."""

    code = "paused"
    exit_code = 10


class CancelledJobError(RbeeError):
    """The job was cancelled, by this user or by another rbee."""

    code = "cancelled"
    exit_code = 11


class MetadataError(RbeeError):
    """A metadata.json, record or header that cannot be read; the text says where and why."""

    code = "metadata"


class StorageError(RbeeError):
    """The file system refused: the text names the operation, the path and its reason."""

    code = "storage"


def error_of(code: str, message: str, hint: str = "") -> RbeeError:
    """An error as its `code` was kept somewhere; a plain one for a code that is not known."""
    kinds = [RbeeError]
    for kind in kinds:
        if kind.code == code:
            return kind(message, hint=hint)
        kinds.extend(kind.__subclasses__())
    return RbeeError(message, hint=hint)
