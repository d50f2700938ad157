"""Finding a repository on the Hub: words are searched for while one types, a name is taken as it stands."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from textual.timer import Timer

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.naming import parse
from rbee_tui.engine.repository import RepoSummary
from rbee_tui.engine.text import clean
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.pick import Choice, PickScreen
from rbee_tui.ui.widgets.drawn import Drawn

_PAUSE_SECONDS = 0.25
"""Of typing, before the Hub is asked."""
_COLUMNS = (
    Column("DOWNLOADS", 11, right=True),
    Column("LIKES", 7, right=True),
    Column("UPDATED", 10),
    Column("ACCESS", 6),
    Column("REPOSITORY", 20, weight=1),
)
_NOTHING: list[Drawn] = [
    [("The Hub has nothing that matches.", "")],
    [("A name as owner/name is taken as it stands.", "quiet")],
]
Search = Callable[[str], Coroutine[Any, Any, Sequence[RepoSummary]]]


class SearchScreen(PickScreen):
    """The result is `(repository, file or None)`."""

    def __init__(self, search: Search, where: str, glyphs: Glyphs) -> None:
        super().__init__(
            f"Add a model from {where}",
            _COLUMNS,
            (),
            glyphs,
            search="search words, or owner/name, or owner/name:Q4_K_M",
            enter="Its files",
        )
        self._ask = search
        self._known: dict[str, Sequence[RepoSummary]] = {}
        self._timer: Timer | None = None
        self._wanted = ""
        self._moved = False
        """Whether the cursor was moved since the words were typed: then Enter means its line."""
        self._entered = False
        """Whether Enter was pressed before the results came: then the first of them is meant."""

    def opened(self) -> None:
        """Begin with what is downloaded most."""
        super().opened()
        self._look("")

    def narrow(self, text: str) -> None:
        """Ask the Hub once typing pauses."""
        self._moved = self._entered = False
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_PAUSE_SECONDS, lambda: self._look(_words(text)))

    def action_move(self, by: int) -> None:
        """Move the cursor, also from the field."""
        self._moved = True
        super().action_move(by)

    def action_page(self, direction: int) -> None:
        """Move the cursor by a page, also from the field."""
        self._moved = True
        super().action_page(direction)

    def submit(self, text: str) -> None:
        """Take the line that the cursor was moved to, else a name as it stands, else the first result."""
        named = None if self._moved and self.pane.current else parse(text)
        if named:
            self.dismiss((named.repo, named.file))
        elif self._wanted != (words := _words(text)) or words not in self._known:
            if self._timer is not None:
                self._timer.stop()
            self._entered = True
            self._look(words)
        else:
            super().submit(text)

    def _look(self, words: str) -> None:
        self._wanted = words
        self.run_worker(self._fill(words), group="search", exclusive=True, exit_on_error=False)

    async def _fill(self, words: str) -> None:
        if words not in self._known:
            self.show(self.choices, "searching")
            try:
                self._known[words] = await self._ask(words)
            except RbeeError as error:
                if words == self._wanted:
                    self._entered = False
                    self.choices = []
                    self.show((), "", [[(str(error), "wrong")], [(error.hint, "")]])
                return
        if words == self._wanted:
            self.choices = [_choice(repo) for repo in self._known[words]]
            said = f"{len(self.choices)} match {clean(words)!r}" if words else "downloaded most"
            self.show(
                self.choices,
                said,
                _NOTHING,
            )
            if self._entered and self.choices:
                self.dismiss(self.choices[0].value)
            self._entered = False


def _words(text: str) -> str:
    """What of a text is searched for; a file that is named after a colon is not."""
    return text.strip().partition(":")[0]


def _choice(repo: RepoSummary) -> Choice:
    cells = (
        Cell(f"{repo.downloads:,}"),
        Cell(f"{repo.likes:,}", "quiet"),
        Cell(clean((repo.updated_at or "")[:10]), "quiet"),
        Cell("gated", "busy") if repo.gated else Cell("open", "quiet"),
        Cell(clean(repo.id)),
    )
    return Choice(repo.id, cells, (repo.id, None))
