"""Whether the Hub has something newer than what is here: by the files' hashes, not by the commit alone."""

from typing import Literal

import msgspec

from rbee_tui.engine import choices
from rbee_tui.engine.artifacts import Entry, Model
from rbee_tui.engine.describe import pull_command
from rbee_tui.engine.errors import AccessError, NotFoundError, UsageError
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.repository import Repository

State = Literal["current", "newer", "gone"]


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What the Hub has of a model now."""

    id: str
    repo: str
    state: State
    """`current`: its files are the newest; `newer`: others stand in their place; `gone`: it is not there."""
    commit: str
    """That the files here come from."""
    newest: str = ""
    """The commit of the repository's main branch."""
    size_bytes: int = 0
    """Of the newer files."""
    command: str = ""
    """That brings them; each old file stays until the new one is verified."""
    reason: str = ""


def look(entries: list[Entry[Model]], hub: Hub) -> list[Update]:
    """Compare every model that came from a repository with what that has now; one question for each."""
    known: dict[str, Repository | str] = {}
    found: list[Update] = []
    for entry in entries:
        model = entry.artifact
        if model is None or not model.repo or not model.revision or not model.files:
            continue
        if model.repo not in known:
            try:
                known[model.repo] = hub.repository(model.repo)
            except (NotFoundError, AccessError) as error:
                known[model.repo] = str(error)
        found.append(compare(entry.id, model, known[model.repo]))
    return found


def compare(model_id: str, model: Model, there: Repository | str) -> Update:
    """One model with its repository; a text says why there is none. Pure."""
    update = Update(id=model_id, repo=model.repo or "", state="gone", commit=model.revision or "")
    if isinstance(there, str):
        return msgspec.structs.replace(update, reason=there)
    update = msgspec.structs.replace(update, newest=there.commit)
    hashes = {file.sha256 or file.blob_id for file in there.files}
    if all((file.sha256 or file.blob_id) in hashes for file in model.files):
        return msgspec.structs.replace(update, state="current")
    file = model.source_url.partition(f"/resolve/{model.revision}/")[2] or None
    try:
        chosen = choices.pick(there.id, there.files, file)
    except (NotFoundError, UsageError) as error:
        return msgspec.structs.replace(update, reason=str(error))
    return msgspec.structs.replace(
        update, state="newer", size_bytes=chosen.size_bytes, command=pull_command(model)
    )
