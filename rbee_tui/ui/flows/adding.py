"""Adding a model: a repository, one of its choices, a question with the figures, a download."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbee_tui.engine.choices import Choice, group, pick
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.text import clean, size
from rbee_tui.ui.flows import fitting
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.pick import Choice as Picked
from rbee_tui.ui.screens.pick import PickScreen, Pressed
from rbee_tui.ui.screens.question import Answer, Question
from rbee_tui.ui.screens.search import Memory, SearchScreen

if TYPE_CHECKING:
    from rbee_tui.engine.artifacts import Entry, Model
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.fitting.choice import ChoiceFit
    from rbee_tui.engine.fitting.machine import Machine
    from rbee_tui.engine.gguf import Header
    from rbee_tui.engine.hub import Repository
    from rbee_tui.engine.nearby import Twin
    from rbee_tui.engine.planning import Plan
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (
    Column("SIZE", 9, right=True),
    Column("QUANT", 8),
    Column("FILES", 5, right=True),
    Column("FIT", 13),
    Column("HERE", 4),
    Column("NAME", 20, weight=1),
)


async def add(app: "RbeeApp") -> None:
    """Find a repository, choose one of its models, and download it."""
    where = await app.bridge.ask(lambda engine: engine.hub.endpoint)
    memory = Memory()
    while True:
        found = await app.push_screen_wait(
            SearchScreen(
                lambda words, filters: app.bridge.ask(lambda engine: engine.hub.search(words, 50, filters)),
                clean(where.partition("://")[2]),
                app.glyphs,
                memory,
            )
        )
        if found is None:
            return
        repo, file = found
        try:
            if await _from_repository(app, repo, file):
                return
        except RbeeError as error:
            await app.explain(error)


async def _from_repository(app: "RbeeApp", repo: str, file: str | None) -> bool:
    """Choose among a repository's models and download one; False to go back to the search."""
    app.narrate(f"asking for the files of {clean(repo)}", "busy")
    repository, machine = await app.bridge.ask(
        lambda engine: (engine.hub.repository(repo), engine.fitter.machine())
    )
    if file is not None:
        choice = pick(repository.id, repository.files, file)
        return await fetch(app, repository.id, choice.file or file)
    choices = group(repository.files)
    header: Header | None = None
    while True:
        picked = await app.push_screen_wait(_choices_screen(app, repository, choices, machine, header))
        if picked is None:
            return False
        if isinstance(picked, Pressed):
            try:
                header = await fitting.repository_matrix(app, repository, choices)
            except RbeeError as error:
                await app.explain(error)
            continue
        if await fetch(app, repository.id, picked.file):
            return True


def _choices_screen(
    app: "RbeeApp",
    repository: "Repository",
    choices: list[Choice],
    machine: "Machine",
    header: "Header | None",
) -> PickScreen:
    from rbee_tui.engine.fitting.choice import (  # noqa: PLC0415 - the first picture does not wait
        fit_of_choice,
        recommend,
    )

    best = recommend(choices, machine, header)
    taken = best.choice if best else None
    here = {file.sha256 for entry in app.house.models if entry.artifact for file in entry.artifact.files}
    said = [
        clean(repository.id),
        f"licence {clean(repository.license)}" if repository.license else "no licence named",
        f"at {repository.commit[:12]}",
    ]
    return PickScreen(
        f"  {app.glyphs.dash}  ".join(said),
        _COLUMNS,
        [
            _line(choice, here, app.glyphs, fit_of_choice(choice, machine, header), best=choice is taken)
            for choice in choices
        ],
        app.glyphs,
        empty=[[("This repository has no files that could be downloaded.", "")]],
        about=2,
        enter="Download",
        also={"m": "Fit"},
    )


def _line(choice: Choice, here: set[str | None], glyphs: Glyphs, fit: "ChoiceFit", *, best: bool) -> Picked:
    mine = all(file.sha256 in here and file.sha256 for file in choice.files)
    unknown = any(file.size_bytes is None for file in choice.files)
    name = choice.file or f"the whole repository ({choice.format})"
    about = (
        f"{fit.text}{'' if fit.read else ', estimate from its size: m reads its header'}"
        if choice.format == "gguf"
        else "None of the workers here serves this format: it can be kept, not started."
    )
    cells = (
        Cell("?" if unknown else size(choice.size_bytes)),
        Cell(choice.quantization or "", "accent"),
        Cell(str(len(choice.files))),
        fitting.column(fit, glyphs, best=best),
        Cell(glyphs.ok if mine else "", "ok"),
        Cell(clean(name)),
    )
    return Picked(name, cells, choice, about)


async def fetch(app: "RbeeApp", repo: str, file: str | None) -> bool:
    """Ask with size, place and free space, and download; False where that was declined."""
    models = app.house.models
    said = await app.bridge.ask(lambda engine: _ahead(engine, repo, file, models))
    if await app.question(_question(said)) is None:
        return False
    job_id = await app.bridge.call(lambda engine: engine.provisioner.download_model(repo, file))
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
    free: int
    promised: int
    place: str
    fit: "ChoiceFit"
    twins: "Sequence[Twin]" = ()
    """Files of this disk that may have its bytes already."""

    @property
    def needed(self) -> int:
        """The room that it takes."""
        linked = {twin.target for twin in self.twins if twin.linkable}
        return sum(file.size_bytes for file in self.plan.files if file.target not in linked)


def _ahead(engine: "Engine", repo: str, file: str | None, models: "list[Entry[Model]]") -> Ahead:
    plan = engine.provisioner.plan(repo, file)
    return Ahead(
        plan,
        shutil.disk_usage(engine.root.part_directory()).free,
        engine.provisioner.promised(),
        str(engine.models.directory(plan.model.id)),
        engine.fitter.of_plan(plan),
        engine.provisioner.nearby(plan, models),
    )


def _on_disk(ahead: Ahead) -> list[tuple[str, str]]:
    """The line that says what of it need not be fetched."""
    found = {twin.target: twin for twin in reversed(ahead.twins)}
    if not found:
        return []
    whose = ", ".join(sorted({clean(twin.whose) for twin in found.values()}))
    held = sum(twin.size_bytes for twin in found.values())
    return [(f"here    {size(held)} of it, {whose}: not fetched again if it is right", "ok")]


def _question(ahead: Ahead) -> Question:
    plan, free, promised, place = ahead.plan, ahead.free, ahead.promised, ahead.place
    count = len(plan.files)
    left = free - promised - ahead.needed
    lines = [
        (clean(plan.model.id), "strong"),
        ("", ""),
        (f"from    {clean(plan.repo)}", ""),
        (f"size    {size(plan.total)} in {count} file{'s' if count > 1 else ''}", ""),
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
        said = "gated: its owner decides who may have it (ask on its page, then set HF_TOKEN)"
        lines.insert(4, (f"access  {said}", "busy"))
    if left < 0:
        lines += [("", ""), ("Ctrl-D on a model deletes it, and says what becomes free.", "quiet")]
    answers = [Answer("d", "Enter", "Download", "download")] if left >= 0 else []
    return Question("Download", lines, answers)
