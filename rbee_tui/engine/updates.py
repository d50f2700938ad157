"""Whether the Hub has something newer than what is here: by the files' hashes, not by the commit alone."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from rbee_tui.engine import choices
from rbee_tui.engine.artifacts import Entry, Model
from rbee_tui.engine.describe import file_of, pull_command
from rbee_tui.engine.errors import AccessError, NotFoundError, UsageError
from rbee_tui.engine.hub import ElsewhereError, Hub
from rbee_tui.engine.repository import MAIN, Repository
from rbee_tui.engine.text import clean

if TYPE_CHECKING:
    from rbee_tui.engine.catalog import ModelCatalog

State = Literal["current", "newer", "gone", "pinned"]
_AT_ONCE = 8
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What the Hub has of a model now."""

    id: str
    repo: str
    """As the Hub calls it now."""
    was: str = ""
    """What the model here calls it still, where it was renamed since; empty where it was not."""
    state: State
    """`current`: its files are the newest; `newer`: others stand in their place; `gone`: it is not there;
    `pinned`: a commit was asked for, which never changes."""
    commit: str
    """That the files here come from."""
    revision: str = MAIN
    """The branch or tag that is followed: the one that was asked for."""
    file: str | None = None
    """Which of the repository's choices it is; None for a whole repository."""
    newest: str = ""
    """The commit that the revision names now."""
    size_bytes: int = 0
    """Of the newer files."""
    command: str = ""
    """That brings them; the old files stay until all the new ones are verified."""
    reason: str = ""

    @property
    def renamed(self) -> str:
        """In a sentence that it was; empty where it was not."""
        return f"{clean(self.was)} is called {clean(self.repo)} now" if self.was else ""


def look(entries: list[Entry[Model]], hub: Hub) -> list[Update]:
    """Compare every model that came from a repository with what that has now.

    One question for each repository and revision, several at once. Raises what the Hub answers, but for a
    repository or revision that is not to be had.
    """
    models = [
        (entry.id, entry.artifact) for entry in entries if entry.artifact and _comes_from_hub(entry.artifact)
    ]
    asked = sorted({_named(model) for _, model in models if not is_pinned(model)})
    with ThreadPoolExecutor(_AT_ONCE, "rbee-updates") as threads:
        known = dict(zip(asked, threads.map(partial(_ask, hub), asked), strict=True))
    return [
        compare(model_id, model, _followed(hub, model, known.get(_named(model))))
        for model_id, model in models
    ]


def _followed(hub: Hub, model: Model, there: Repository | str | None) -> Repository | str | None:
    """The repository, also by its new name where it has the model's own commit; else why not."""
    if not isinstance(there, Repository) or there.id == model.repo:
        return there
    with suppress(NotFoundError, AccessError):
        if hub.repository(there.id, model.revision or MAIN).commit == model.revision:
            return there
    return (
        f"{clean(model.repo or '')} leads to {clean(there.id)}, which does not have the commit that is here: "
        f"rbee pull {clean(there.id)} brings that as another model"
    )


def _comes_from_hub(model: Model) -> bool:
    return bool(model.repo and model.revision and model.files)


def _named(model: Model) -> tuple[str, str]:
    return model.repo or "", model.requested_revision or MAIN


def _ask(hub: Hub, named: tuple[str, str]) -> Repository | str:
    try:
        return hub.repository(*named)
    except (NotFoundError, AccessError, ElsewhereError) as error:
        return str(error)


def is_pinned(model: Model) -> bool:
    """Whether the model was asked for by its commit."""
    asked = model.requested_revision or ""
    return _COMMIT.fullmatch(asked) is not None and (model.revision or "").startswith(asked)


def compare(model_id: str, model: Model, there: Repository | str | None) -> Update:
    """One model with its repository; a text says why there is none. Pure."""
    update = Update(
        id=model_id,
        repo=model.repo or "",
        state="gone",
        commit=model.revision or "",
        revision=model.requested_revision or MAIN,
        file=file_of(model),
    )
    if there is None:
        return msgspec.structs.replace(update, state="pinned", newest=update.commit)
    if isinstance(there, str):
        return msgspec.structs.replace(update, reason=there)
    update = msgspec.structs.replace(
        update, newest=there.commit, repo=there.id, was=update.repo if update.repo != there.id else ""
    )
    model = by_name(model, there.id)
    hashes = {file.sha256 or file.blob_id for file in there.files}
    if all((file.sha256 or file.blob_id) in hashes for file in model.files):
        return msgspec.structs.replace(update, state="current")
    try:
        chosen = choices.pick(there.id, there.files, update.file)
    except (NotFoundError, UsageError) as error:
        return msgspec.structs.replace(update, reason=str(error))
    return msgspec.structs.replace(
        update, state="newer", size_bytes=chosen.size_bytes, command=pull_command(model)
    )


def by_name(model: Model, repo: str) -> Model:
    """The model as it came from a repository of this name. Pure."""
    if repo == model.repo:
        return model
    url = model.source_url.replace(f"/{model.repo}/", f"/{repo}/", 1)
    return msgspec.structs.replace(model, repo=repo, source_url=url)


def take_names(models: "ModelCatalog", found: Iterable[Update]) -> None:
    """Remember the new names of renamed repositories; the models keep their ids. Blocking.

    Raises as `change` does.
    """
    for each in found:
        if each.was and _goes_by(models.get(each.id), each.was):
            models.change(each.id, lambda model, repo=each.repo: by_name(model, repo))


def _goes_by(entry: Entry[Model], name: str) -> bool:
    return entry.artifact is None or entry.artifact.repo == name
