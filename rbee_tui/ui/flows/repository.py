"""A repository's page: what it is, who may have it, its revisions, and what of it can be downloaded."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbee_tui.engine import cards, tokens
from rbee_tui.engine.choices import Choice, group
from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.fitting.choice import fit_of_choice, recommend
from rbee_tui.engine.naming import Named
from rbee_tui.engine.refusals import access_hint
from rbee_tui.engine.repository import MAIN
from rbee_tui.engine.text import clean, size
from rbee_tui.ui.flows import fitting
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.line import LineScreen
from rbee_tui.ui.screens.pick import Choice as Picked
from rbee_tui.ui.screens.pick import PickScreen, Pressed
from rbee_tui.ui.screens.text import TextScreen

if TYPE_CHECKING:
    from rbee_tui.engine.engine import Engine
    from rbee_tui.engine.fitting.choice import ChoiceFit
    from rbee_tui.engine.fitting.machine import Machine
    from rbee_tui.engine.gguf import Header
    from rbee_tui.engine.hub import Repository
    from rbee_tui.engine.repository import Revision
    from rbee_tui.ui.app import RbeeApp

_COLUMNS = (
    Column("SIZE", 9, right=True),
    Column("QUANT", 8),
    Column("FILES", 5, right=True),
    Column("FIT", 13),
    Column("HERE", 4),
    Column("NAME", 20, weight=1),
)
_REVISIONS = (Column("REVISION", 24), Column("KIND", 7), Column("COMMIT", 14, weight=1))
_GATES = {"": "open", "auto": "gated: asking is enough", "manual": "gated: its owner decides"}


@dataclass(frozen=True)
class Page:
    """A repository at a revision, and what there is to say of it."""

    repository: "Repository"
    machine: "Machine"
    card: tuple[str, ...] = ()
    """The lines of its card."""
    summary: str = ""
    access: str = ""
    """What to do to get what is gated; empty where it is open."""


async def choose(app: "RbeeApp", named: Named) -> "tuple[Page, Choice] | None":
    """Show a repository's page until one of its choices is taken; None to go back."""
    page = await _open(app, named.repo, named.revision or MAIN)
    header: Header | None = None
    while True:
        picked = await app.push_screen_wait(_screen(app, page, group(page.repository.files), header))
        if picked is None:
            return None
        if not isinstance(picked, Pressed):
            return page, picked
        try:
            if picked.key == "m":
                choices = group(page.repository.files)
                header = await fitting.repository_matrix(app, page.repository, choices)
            else:
                another = await _look_on(app, page, picked.key)
                page, header = another, header if another.repository == page.repository else None
        except RbeeError as error:
            await app.explain(error)


async def _look_on(app: "RbeeApp", page: Page, key: str) -> Page:
    """Do what a key of the page stands for; the page afterwards."""
    there = page.repository
    if key == "c":
        await app.push_screen_wait(TextScreen("Card", [(line, "") for line in page.card], app.glyphs))
    elif key == "v":
        revision = await _revision(app, there)
        return page if revision is None else await _open(app, there.id, revision)
    elif await _enter_token(app):
        return await _open(app, there.id, there.revision or MAIN)
    return page


async def _open(app: "RbeeApp", repo: str, revision: str) -> Page:
    app.narrate(f"asking for the files of {clean(repo)}", "busy", passing=True)
    return await app.bridge.ask(lambda engine: _page(engine, repo, revision))


def _page(engine: "Engine", repo: str, revision: str) -> Page:
    repository = engine.hub.repository(repo, revision)
    text = ""
    with suppress(RbeeError):  # a page without its card is a page
        text = engine.hub.card(repository)
    return Page(
        repository,
        engine.fitter.machine(),
        tuple(cards.lines(text)),
        clean(cards.summary(text)),
        access_hint(clean(repository.id), has_token=engine.hub.token is not None) if repository.gated else "",
    )


async def _revision(app: "RbeeApp", repository: "Repository") -> str | None:
    found: list[Revision] = await app.bridge.ask(lambda engine: engine.hub.revisions(repository.id))
    shown = [
        Picked(
            each.name,
            (Cell(clean(each.name)), Cell(each.kind, "quiet"), Cell(clean(each.commit[:12]), "quiet")),
            each.name,
        )
        for each in found
    ]
    title = f"Revisions of {clean(repository.id)}"
    return await app.push_screen_wait(
        PickScreen(title, _REVISIONS, shown, app.glyphs, search="words of a branch or a tag", enter="Take it")
    )


async def _enter_token(app: "RbeeApp") -> bool:
    """Ask for a token and keep it for this Hub; False where none was given."""
    text = await app.push_screen_wait(
        LineScreen("Token for this Hub", "hf_...; kept readable by you alone", "Keep it", secret=True)
    )
    if text is None:
        return False
    await app.bridge.ask(lambda engine: tokens.enter(engine.root, engine.hub.endpoint, text))
    app.narrate("the token is kept; rbee token forget forgets it", "ok")
    return True


def _screen(app: "RbeeApp", page: Page, choices: list[Choice], header: "Header | None") -> PickScreen:
    best = recommend(choices, page.machine, header)
    taken = best.choice if best else None
    here = {file.sha256 for entry in app.house.models if entry.artifact for file in entry.artifact.files}
    lines = [
        _line(choice, here, app.glyphs, fit_of_choice(choice, page.machine, header), best=choice is taken)
        for choice in choices
    ]
    also = {"m": "Fit", "v": "Revision"} | ({"c": "Card"} if page.card else {})
    return PickScreen(
        clean(page.repository.id),
        _COLUMNS,
        lines,
        app.glyphs,
        empty=[[("This repository has no files that could be downloaded.", "")]],
        head=head(page, app.glyphs),
        about=2,
        enter="Download",
        also=also | ({"t": "Token"} if page.access else {}),
        at=next((each.key for each in lines if each.value is taken), None),
    )


def head(page: Page, glyphs: Glyphs) -> list[tuple[str, str]]:
    """What a repository is, in a few lines: its card's first sentences, licence, access, revision, dates."""
    there = page.repository
    gate = _GATES.get(there.gate, there.gate) if there.gated else "open"
    said = [
        f"licence {clean(there.license)}" if there.license else "no licence named",
        ("private, " if there.private else "") + gate,
        f"{clean(there.revision or MAIN)} at {there.commit[:12]}",
        *([f"updated {clean(there.updated_at[:10])}"] if there.updated_at else []),
    ]
    lines = [(page.summary, "")] if page.summary else []
    lines.append((f" {glyphs.dash} ".join(said), "quiet"))
    if page.access:
        lines.append((f"{page.access}; t enters one", "busy"))
    return lines


def _line(choice: Choice, here: set[str | None], glyphs: Glyphs, fit: "ChoiceFit", *, best: bool) -> Picked:
    mine = all(file.sha256 in here and file.sha256 for file in choice.files)
    unknown = any(file.size_bytes is None for file in choice.files)
    name = choice.file or f"the whole repository ({choice.format})"
    about = (
        f"{fit.text}{'' if fit.read else ', estimate from its size: m reads its header'}."
        if choice.format == "gguf"
        else "None of the workers here serves this format: it can be kept, not started."
    )
    if choice.projector is not None:
        about += f" It comes with {clean(choice.projector.path)}, so that it can see or hear."
    cells = (
        Cell("?" if unknown else size(choice.size_bytes)),
        Cell(choice.quantization or "", "accent"),
        Cell(str(len(choice.files))),
        fitting.column(fit, glyphs, best=best),
        Cell(glyphs.ok if mine else "", "ok"),
        Cell(clean(name)),
    )
    return Picked(name, cells, choice, about)
