"""Adding a model: a repository, one of its choices, a question with the figures, a download."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbee_tui.engine.choices import pick
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.naming import Named
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.text import clean, counted, size
from rbee_tui.ui.flows import filtering, fitting, repository
from rbee_tui.ui.keys import Situation
from rbee_tui.ui.screens.question import Answer, Question
from rbee_tui.ui.screens.search import Memory, SearchScreen

if TYPE_CHECKING:
    from rbee_tui.engine.artifacts import Entry, Model
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.fitting.choice import ChoiceFit
    from rbee_tui.engine.nearby import Twin
    from rbee_tui.engine.planning import Plan, Room
    from rbee_tui.ui.app import RbeeApp


async def add(app: "RbeeApp", _: Situation) -> None:
    """Find a repository, choose one of its models, and download it."""

    async def where() -> str:
        endpoint = await app.bridge.ask(lambda engine: engine.hub.endpoint)
        return clean(endpoint.partition("://")[2])

    memory = Memory()
    while True:
        found = await app.push_screen_wait(
            SearchScreen(
                lambda words, filters, most: app.bridge.call(
                    lambda engine: engine.search(words, most, filters)
                ),
                where,
                app.glyphs,
                memory,
                lambda filters: filtering.choose(app, filters),
            )
        )
        if found is None:
            return
        try:
            if await _from_repository(app, found):
                return
        except RbeeError as error:
            await app.explain(error)


async def _from_repository(app: "RbeeApp", named: Named) -> bool:
    """Take what is named, or choose among a repository's models; False to go back to the search."""
    if named.file is not None:
        repo, revision = named.repo, named.revision or MAIN
        there = await app.bridge.ask(lambda engine: engine.hub.repository(repo, revision))
        choice = pick(there.id, there.files, named.file)
        return await fetch(app, there.id, choice.file or named.file, revision)
    while True:
        chosen = await repository.choose(app, named)
        if chosen is None:
            return False
        page, choice = chosen
        there = page.repository
        named = Named(repo=named.repo, revision=there.revision)
        try:
            if await fetch(app, there.id, choice.file, there.revision or MAIN):
                return True
        except RbeeError as error:
            await app.explain(error)


async def fetch(app: "RbeeApp", repo: str, file: str | None, revision: str = MAIN) -> bool:
    """Ask with size, place and free space, and download; False where that was declined."""
    from rbee_tui.ui.flows import room  # noqa: PLC0415 - what it gives back may be fetched again from there

    answer = "disk"
    while answer == "disk":
        models = app.house.models
        said = await app.bridge.ask(
            lambda engine, models=models: _ahead(engine, repo, file, revision, models)
        )
        answer = await app.question(_question(said))
        if answer == "disk":
            await room.disk(app)
    if answer is None:
        return False
    job_id = await app.bridge.call(
        lambda engine: engine.provisioner.download_model(repo, file, revision=revision)
    )
    job = await app.bridge.ask(lambda engine: engine.provisioner.get_progress(job_id))
    if job.state == "done":
        app.narrate(f"{clean(job.model_id)} is here already, verified", "ok")
        app.show_line("models", job.model_id)
    else:
        app.house.jobs[job_id] = job
        app.main.show({"jobs"})
        app.show_line("downloads", job_id)
    return True


@dataclass(frozen=True)
class Ahead:
    """What a download would be; sizes in bytes."""

    plan: "Plan"
    room: "Room"
    place: str
    fit: "ChoiceFit"
    twins: "Sequence[Twin]" = ()
    """Files of this disk that may have its bytes already."""


def _ahead(
    engine: "Engine", repo: str, file: str | None, revision: str, models: "list[Entry[Model]]"
) -> Ahead:
    plan = engine.provisioner.plan(repo, file, revision=revision)
    twins = engine.provisioner.nearby(plan, models)
    return Ahead(
        plan,
        engine.provisioner.room(plan, twins),
        str(engine.models.directory(plan.model.id)),
        engine.fitter.of_plan(plan),
        twins,
    )


def _on_disk(ahead: Ahead) -> list[tuple[str, str]]:
    """The line that says what of it need not be fetched."""
    found = {twin.target: twin for twin in reversed(ahead.twins)}
    if not found:
        return []
    whose = ", ".join(sorted({clean(twin.whose) for twin in found.values()}))
    held = sum(twin.size_bytes for twin in found.values())
    return [(f"here    {size(held)} of it, {whose}: not fetched again if it is right", "ok")]


def _at(plan: "Plan") -> str:
    revision = plan.model.requested_revision
    return f" at {clean(revision)}" if revision else ""


def _question(ahead: Ahead) -> Question:
    plan, free, promised, place = ahead.plan, ahead.room.free, ahead.room.promised, ahead.place
    count = len(plan.files)
    left = ahead.room.left
    lines = [
        (clean(plan.model.id), "strong"),
        ("", ""),
        (f"from    {clean(plan.repo)}{_at(plan)}", ""),
        (f"size    {size(plan.total)} in {counted(count, 'file')}", ""),
        (f"to      {clean(place)}", ""),
        (
            f"disk    {size(free)} free"
            + (f", {size(promised)} promised to other downloads" if promised else ""),
            "",
        ),
        (f"left    {size(left)} then", "") if left >= 0 else (f"left    {size(-left)} too little", "wrong"),
        *_on_disk(ahead),
        fitting.line(ahead.fit),
    ]
    if plan.model.license:
        lines.insert(4, (f"terms   {clean(plan.model.license)}", ""))
    if plan.gated:
        said = "gated: its owner decides who may have it (t on its page enters a token)"
        lines.insert(4, (f"access  {said}", "busy"))
    give_back = Answer("D", "D", "What takes room, to give some back", "disk")
    answers = [Answer("d", "Enter", "Download", "download")] if left >= 0 else [give_back]
    return Question("Download", lines, answers)
