"""What a download will be: pure decisions from a repository's listing to a job's record."""

from collections.abc import Callable, Container, Iterable

import msgspec

from rbee_tui.engine.artifacts import AVAILABLE, Entry, Health, Model, ModelFile
from rbee_tui.engine.choices import Choice
from rbee_tui.engine.errors import NoSpaceError, RefusedError
from rbee_tui.engine.hub import Repository
from rbee_tui.engine.ids import default_model_id
from rbee_tui.engine.jobs import PlannedFile, Record
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.text import clean, size


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A download before anything was written: the model it makes and the files it needs."""

    endpoint: str
    repo: str
    revision: str
    model: Model
    files: list[PlannedFile]
    gated: bool = False
    """Whether the repository's owner decides who may have them."""

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


def plan(endpoint: str, repository: Repository, choice: Choice, model_id: str | None) -> Plan:
    """The plan for one choice of a repository."""
    wanted = model_id or default_model_id(repository.id, choice.file)
    pinned = f"{endpoint.rstrip('/')}/{repository.id}"
    url = (
        f"{pinned}/resolve/{repository.commit}/{choice.file}"
        if choice.file
        else f"{pinned}/tree/{repository.commit}"
    )
    model = Model(
        id=wanted,
        name=clean(choice.name),
        version=choice.quantization or repository.commit[:12],
        size_bytes=choice.size_bytes,
        source_url=url,
        repo=repository.id,
        revision=repository.commit,
        requested_revision=repository.revision if repository.revision != MAIN else None,
        format=choice.format,
        quantization=choice.quantization,
        license=repository.license,
    )
    return Plan(
        endpoint=endpoint,
        repo=repository.id,
        revision=repository.commit,
        model=model,
        files=choice.layout(),
        gated=repository.gated,
    )


def settle_id(
    chosen: Plan, find: Callable[[str], Entry[Model] | None], records: Iterable[Record], *, named: bool
) -> tuple[Plan, Entry[Model] | None]:
    """The plan under an id of its own, and the entry that has it: one of another source gets `--<owner>`.

    Raises RefusedError when the user named the id, or both are taken.
    """
    sources = {record.model.id: record.repo for record in records if record.outcome is None}
    owner = chosen.repo.split("/", maxsplit=1)[0].lower()
    for candidate in (chosen.model.id, *(() if named else (f"{chosen.model.id}--{owner}",))):
        entry = find(candidate)
        repo = sources.get(candidate) or (entry.artifact.repo if entry and entry.artifact else None)
        taken = candidate in sources or entry is not None
        if taken and repo != chosen.repo and not _same_source(entry, chosen):
            continue
        model = msgspec.structs.replace(chosen.model, id=candidate)
        return msgspec.structs.replace(chosen, model=model), entry
    raise RefusedError(
        f"the id {clean(chosen.model.id)!r} belongs to another model", hint="choose another one with --id"
    )


def _same_source(entry: Entry[Model] | None, chosen: Plan) -> bool:
    """An entry in the specification's own format has no repository: its URL names the source."""
    model = entry.artifact if entry else None
    return model is not None and model.repo is None and f"/{chosen.repo}/" in f"{model.source_url}/"


def same_file(model: Model | None, file: PlannedFile) -> ModelFile | None:
    """The file of a model that has the bytes of a planned one, whatever its name."""
    have = model.files if model else ()
    return next((f for f in have if file.same_bytes(f.size_bytes, f.sha256, f.blob_id)), None)


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """The room that a download takes, and what there is of it; sizes in bytes."""

    needed: int
    free: int
    promised: int
    """Of what is free, what other unfinished downloads will still take."""

    @property
    def left(self) -> int:
        """What is left then; below 0 what is missing."""
        return self.free - self.promised - self.needed


def room_needed(entry: Entry[Model] | None, files: list[PlannedFile], linked: Container[str] = ()) -> int:
    """Bytes that files will take: not those that a whole model has already, nor what is linked.

    `linked` are the targets of files that lie on this disk and need a link alone.
    """
    old = entry.artifact if entry and is_whole(entry) else None
    return sum(f.size_bytes for f in files if same_file(old, f) is None and f.target not in linked)


def is_whole(entry: Entry[Model] | None) -> bool:
    """Whether an entry can be used as it is; then what is newer gathers beside it."""
    available = entry is not None and entry.artifact is not None and entry.artifact.status == AVAILABLE
    return available and entry is not None and entry.health is Health.OK


def already_here(entry: Entry[Model] | None, files: list[PlannedFile]) -> bool:
    """Whether the catalog has exactly these files, verified and whole."""
    if entry is None or entry.artifact is None or not is_whole(entry):
        return False
    have = {file.path: file for file in entry.artifact.files}
    return all(
        file.target in have
        and file.same_bytes(have[file.target].size_bytes, have[file.target].sha256, have[file.target].blob_id)
        for file in files
    )


def require_room(room: Room) -> None:
    """Raise NoSpaceError with the figures where there is not enough."""
    if room.left < 0:
        beside = f", of which {size(room.promised)} are promised to other downloads" if room.promised else ""
        raise NoSpaceError(
            f"this needs {size(room.needed)}, and the disk has {size(room.free)} free{beside}",
            hint="rbee models list shows what takes room; rbee models remove frees it",
        )
