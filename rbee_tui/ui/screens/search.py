"""Finding a repository on the Hub: words are searched for while one types, a name is taken as it stands."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from msgspec.structs import replace
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widgets import Input

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.naming import Named, parse
from rbee_tui.engine.repository import SORTS, Filters, RepoSummary
from rbee_tui.engine.text import clean
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.lines import Cell, Column
from rbee_tui.ui.screens.pick import Choice, PickScreen
from rbee_tui.ui.widgets.drawn import Drawn
from rbee_tui.ui.widgets.list_pane import ListPane

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
_NARROWING = (("Ctrl-O", "Order"), ("Ctrl-G", "GGUF only"), ("Ctrl-F", "Filters"))
Where = Callable[[], Coroutine[Any, Any, str]]
Search = Callable[[str, Filters, int], Coroutine[Any, Any, Sequence[RepoSummary]]]
Narrow = Callable[[Filters], Coroutine[Any, Any, Filters]]
_PAGE, _MOST = 50, 10_000
"""So many results at first, and four times as many each time the cursor comes to the last of them."""
_FIRST = {
    "downloads": "downloaded most",
    "trending": "trending",
    "likes": "liked most",
    "recent": "changed last",
}


@dataclass
class Memory:
    """What one looked for, kept while one looks at a repository and comes back."""

    text: str = ""
    filters: Filters = field(default_factory=Filters)
    known: dict[tuple[str, Filters], Sequence[RepoSummary]] = field(
        default_factory=dict[tuple[str, Filters], Sequence[RepoSummary]]
    )
    asked: dict[tuple[str, Filters], int] = field(default_factory=dict[tuple[str, Filters], int])
    """How many results were asked for at most."""
    lines: dict[tuple[str, Filters], list[Choice]] = field(
        default_factory=dict[tuple[str, Filters], list[Choice]]
    )
    """The results as they are shown: of thousands, making them anew would hold up a key."""


class SearchScreen(PickScreen):
    """The result is what is `Named`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "order", show=False, priority=True),
        Binding("ctrl+g", "gguf", show=False, priority=True),
        Binding("ctrl+f", "filters", show=False, priority=True),
    ]

    def __init__(self, search: Search, where: Where, glyphs: Glyphs, memory: Memory, narrow: Narrow) -> None:
        """`where` says who has these; the screen opens without waiting for it, as keys are typed on."""
        super().__init__(
            "Add a model",
            _COLUMNS,
            (),
            glyphs,
            search="search words, or owner/name, or owner/name:Q4_K_M, or owner/name@revision",
            enter="Its files",
        )
        self._ask = search
        self._where = where
        self._narrow = narrow
        self._memory = memory
        self._timer: Timer | None = None
        self._wanted = ""
        self._moved = False
        """Whether the cursor was moved since the words were typed: then Enter means its line."""
        self._entered = False
        """Whether Enter was pressed before the results came: then the first of them is meant."""
        self._failed = False
        """Whether the Hub could not be asked: then Enter asks it again."""

    def opened(self) -> None:
        """Begin where one was; at first with what is downloaded most."""
        super().opened()
        self.run_worker(self._say_where(), group="where", exit_on_error=False)
        text = self._memory.text
        if text:
            with self.prevent(Input.Changed):
                self.query_one("#words", Input).value = text
        self._look(_words(text))

    async def _say_where(self) -> None:
        self.retitle(f"{self.caption} from {await self._where()}")

    def action_order(self) -> None:
        """By the next order: downloads, trending, likes, last change."""
        filters = self._memory.filters
        following = SORTS[(SORTS.index(filters.sort) + 1) % len(SORTS)]
        self._memory.filters = replace(filters, sort=following)
        self._look(_words(self._memory.text))

    def action_gguf(self) -> None:
        """Only what has GGUF files, or everything again."""
        self._memory.filters = replace(self._memory.filters, gguf=not self._memory.filters.gguf)
        self._look(_words(self._memory.text))

    def action_filters(self) -> None:
        """Only what has a task, a licence or an author, or fits this machine."""
        self.run_worker(self._choose_filters(), group="filters", exclusive=True, exit_on_error=False)

    async def _choose_filters(self) -> None:
        chosen = await self._narrow(self._memory.filters)
        if chosen != self._memory.filters:
            self._memory.filters = chosen
            self._look(_words(self._memory.text))

    def narrow(self, text: str) -> None:
        """Ask the Hub once typing pauses."""
        self._moved = self._entered = self._failed = False
        self._memory.text = text
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

    def on_list_pane_moved(self, event: "ListPane.Moved") -> None:
        """At the last of the results there may be more."""
        super().on_list_pane_moved(event)
        key = self._key(self._wanted)
        found, asked = self._memory.known.get(key, ()), self._memory.asked.get(key, _PAGE)
        last = self.pane.current is not None and bool(found) and self.pane.current.key == found[-1].id
        if self._moved and last and len(found) == asked < _MOST:
            self._memory.asked[key] = min(_MOST, 4 * asked)
            self.run_worker(self._more(key), group="search", exclusive=True, exit_on_error=False)

    async def _more(self, key: tuple[str, Filters]) -> None:
        """Bring more of the results, and leave the cursor where it is."""
        self.say_below("asking for more")
        try:
            self._memory.known[key] = await self._ask(*key, self._memory.asked[key])
        except RbeeError as error:
            self._memory.asked[key] = len(self._memory.known[key])
            self.say_below(str(error))
            return
        if key == self._key(self._wanted):
            self._put(key)

    def submit(self, text: str) -> None:
        """Take the line that the cursor was moved to, else a name as it stands, else the first result."""
        named = None if self._moved and self.pane.current else parse(text)
        if named:
            self.dismiss(named)
        elif self._wanted != (words := _words(text)) or self._key(words) not in self._memory.known:
            if self._timer is not None:
                self._timer.stop()
            self._entered = not self._failed
            self._look(words)
        else:
            super().submit(text)

    def _look(self, words: str) -> None:
        self._wanted = words
        self.run_worker(self._fill(words), group="search", exclusive=True, exit_on_error=False)

    def _key(self, words: str) -> tuple[str, Filters]:
        return words, self._memory.filters

    async def _fill(self, words: str) -> None:
        key, known = self._key(words), self._memory.known
        if key not in known:
            self.show(self.choices, "searching")
            self._offer()
            try:
                known[key] = await self._ask(*key, self._memory.asked.setdefault(key, _PAGE))
            except RbeeError as error:
                if key == self._key(self._wanted):
                    self._entered = False
                    self.choices = []
                    self.show((), "", [[(str(error), "wrong")], [(error.hint, "")]])
                    self._offer(takes=parse(self._memory.text) is not None, failed=True)
                return
        if key == self._key(self._wanted):
            self._put(key)
            if self._entered and self.choices:
                self.dismiss(self.choices[0].value)
            self._entered = False

    def _put(self, key: tuple[str, Filters]) -> None:
        """Show the results that are known."""
        lines, found = self._memory.lines.setdefault(key, []), self._memory.known[key]
        if len(lines) != len(found):
            lines[:] = [_choice(repo) for repo in found]
        self.choices = lines
        self.show(self.choices, self._said(key[0]), _NOTHING)
        self._offer(takes=bool(self.choices or parse(self._memory.text)))

    def _offer(self, *, takes: bool = True, failed: bool = False) -> None:
        """Offer to take what is typed or found, or will be; without an answer to ask again."""
        self._failed = failed
        enter = [("Enter", "Its files")] if takes else [("Enter", "Try again")] if failed else []
        self.offer([*enter, *(() if failed else _NARROWING)])

    def _said(self, words: str) -> str:
        """What the list is, in the frame."""
        filters = self._memory.filters
        more = "+" if len(self.choices) == self._memory.asked.get(self._key(words), 0) else ""
        verb = "matches" if len(self.choices) == 1 else "match"
        said = [f"{len(self.choices):,}{more} {verb} {clean(words)!r}"] if words else []
        if not words or filters.sort != SORTS[0]:
            said.append(_FIRST[filters.sort])
        told = (filters.task, filters.license, filters.author and f"by {filters.author}")
        said += [clean(each) for each in told if each]
        if filters.billions:
            said.append(f"up to {filters.billions} B parameters")
        return ", ".join([*said, *(["GGUF only"] if filters.gguf else [])])


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
    return Choice(repo.id, cells, Named(repo=repo.id))
