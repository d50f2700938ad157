"""What `POST /v1/jobs` takes: flat JSON objects, told apart by `operation`, checked as they are decoded."""

from typing import Annotated

import msgspec

from rbee_tui.engine.repository import MAIN

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class Operation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="operation"):
    """Something that is asked of the hive."""


class WorkerSpawn(Operation, tag="worker_spawn"):
    """Start a worker on a model; the stream ends when it is ready. One that loads or runs is followed."""

    model: Name
    """A model's id."""
    worker: Name | None = None
    """A worker's id; without one, the worker that fits best."""
    device: Name | None = None
    """A device's id, as `GPU-0` or `CPU-0`; without one, what the worker takes."""
    context: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Tokens of context; without it, what fits."""
    host: Name | None = None
    """The address to listen on; loopback without. Another one lets other machines ask it, with its key."""


class WorkerProcessList(Operation, tag="worker_process_list"):
    """The workers that run, whoever started them; without their keys."""


class WorkerProcessGet(Operation, tag="worker_process_get"):
    """One running worker, with its URL and its key."""

    pid: int


class WorkerProcessDelete(Operation, tag="worker_process_delete"):
    """Stop a running worker."""

    pid: int


class ModelDownload(Operation, tag="model_download"):
    """Download a model, or join its download; the job is the one that `rbee jobs` lists."""

    model: Name
    """`REPO[:FILE]`; FILE is a path, a file's name or a quantisation."""
    id: Name | None = None
    """The model's id here; made from its file's name without."""
    revision: Name = MAIN


class ModelList(Operation, tag="model_list"):
    """The models that are here."""


class ModelGet(Operation, tag="model_get"):
    """One model."""

    id: Name


class ModelDelete(Operation, tag="model_delete"):
    """Remove a model and its files."""

    id: Name


class WorkerCatalogList(Operation, tag="worker_catalog_list"):
    """Each worker that is here or may be installed, and why it fits this machine or not."""


class WorkerInstall(Operation, tag="worker_install"):
    """Install an offered worker; the installer's lines come as they are written."""

    worker_id: Name


class WorkerListInstalled(Operation, tag="worker_list_installed"):
    """The installed workers."""


class WorkerRemove(Operation, tag="worker_remove"):
    """Remove a worker and its files."""

    worker_id: Name


AnyOperation = (
    WorkerSpawn
    | WorkerProcessList
    | WorkerProcessGet
    | WorkerProcessDelete
    | ModelDownload
    | ModelList
    | ModelGet
    | ModelDelete
    | WorkerCatalogList
    | WorkerInstall
    | WorkerListInstalled
    | WorkerRemove
)


def name_of(operation: Operation) -> str:
    """What its `operation` says."""
    return str(operation.__struct_config__.tag)
