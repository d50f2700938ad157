"""The in-process catalog engine: a library that knows no screen and no server.

Names are imported at first use, so that a listing does not pay for the Hub, nor a download for the workers.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbee_tui.engine.artifacts import Model, ModelFile, Worker
    from rbee_tui.engine.catalog import ModelCatalog, WorkerCatalog
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.errors import RbeeError
    from rbee_tui.engine.hub import Hub
    from rbee_tui.engine.paths import Root
    from rbee_tui.engine.provisioner import ModelProvisioner

__all__ = [
    "Engine",
    "Hub",
    "Model",
    "ModelCatalog",
    "ModelFile",
    "ModelProvisioner",
    "RbeeError",
    "Root",
    "Worker",
    "WorkerCatalog",
]

_HOMES = {
    "Engine": "engine",
    "Hub": "hub",
    "Model": "artifacts",
    "ModelCatalog": "catalog",
    "ModelFile": "artifacts",
    "ModelProvisioner": "provisioner",
    "RbeeError": "errors",
    "Root": "paths",
    "Worker": "artifacts",
    "WorkerCatalog": "catalog",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only those who use a name pay

    return getattr(import_module(f"{__name__}.{home}"), name)
