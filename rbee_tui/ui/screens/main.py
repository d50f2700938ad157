"""The main screen: the hardware, the three panes, what just happened, and the keys."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.screen import Screen
from textual.widgets import Input, Label

from rbee_tui.engine.artifacts import Health
from rbee_tui.engine.text import size
from rbee_tui.ui import layout
from rbee_tui.ui.house import House, total_rate
from rbee_tui.ui.keys import ACTIONS, Situation, in_footer
from rbee_tui.ui.lines import (
    DOWNLOAD_COLUMNS,
    MODEL_COLUMNS,
    NARROW_DOWNLOAD_COLUMNS,
    NARROW_MODEL_COLUMNS,
    NARROW_WORKER_COLUMNS,
    SINGLE_DOWNLOAD_COLUMNS,
    WORKER_COLUMNS,
    Column,
    Line,
    ModelLine,
    download_cells,
    download_lines,
    model_cells,
    share_of,
    worker_cells,
    worker_lines,
)
from rbee_tui.ui.listing import ModelList, matching
from rbee_tui.ui.sorting import Order
from rbee_tui.ui.telling import Event
from rbee_tui.ui.widgets.bars import HardwareLine, KeyLine, Narration
from rbee_tui.ui.widgets.drawn import Drawn, DrawnLines, fit
from rbee_tui.ui.widgets.field import Field
from rbee_tui.ui.widgets.list_pane import Keyed, ListPane

if TYPE_CHECKING:
    from rbee_tui.ui.app import RbeeApp

PANES: tuple[str, ...] = ("models", "workers", "downloads")
_WIDE_DOWNLOADS, _NARROW_DOWNLOADS = 100, 70
_WIDE_WORKERS = 56
_HOPS = 2
"""Turns of the loop in which a pane that was drawn anew says so."""
_FILTERING = "-filtering"
_PARTS = frozenset({*PANES, "panes", "hardware", "narration", "filter", "keys"})
_BARS = 3
"""Rows that are no pane: hardware, narration, keys."""


class MainScreen(Screen[None]):
    """Shows the house; hands every key's action to the application."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key, f"do('{action.name}')", show=False)
            for action in ACTIONS
            for key in action.keys
            if action.name != "details"
        ),
        Binding("shift+tab", "previous_pane", show=False),
        Binding("escape", "clear", show=False),
    ]

    def __init__(self, house: House, host: str) -> None:
        super().__init__()
        self._house = house
        self._host = host
        self._filters: dict[str, str] = dict.fromkeys(PANES, "")
        self._order = Order()
        self._models = ModelList()

    @property
    def rbee(self) -> "RbeeApp":
        """The application, as the type that it is."""
        return cast("RbeeApp", self.app)

    # What is on it

    def compose(self) -> ComposeResult:
        """The bars and the panes."""
        glyphs = self.rbee.glyphs
        yield HardwareLine(glyphs, self._host, id="hardware")
        with Grid(id="panes"):
            yield ListPane[ModelLine](
                _model_columns, lambda line: model_cells(line, glyphs), glyphs, id="models"
            )
            yield ListPane[Line](
                _worker_columns, lambda line: worker_cells(line, glyphs), glyphs, id="workers"
            )
            yield ListPane[Line](
                _download_columns,
                lambda line: download_cells(line, glyphs),
                glyphs,
                share=share_of,
                id="downloads",
            )
        yield TooSmall(id="too-small")
        yield Field(placeholder="words that lines must have", id="filter")
        yield Label("/", id="slash")  # over the field, not beside it in a box: its letters come a turn sooner
        yield Narration(glyphs, id="narration")
        yield KeyLine(id="keys")

    def on_mount(self) -> None:
        """Begin with what is known already."""
        self._arrange()
        self.pane("models").focus()
        self.show({"models", "workers", "running", "jobs", "reading"})

    def pane(self, name: str) -> "ListPane[Any]":
        """One of the panes."""
        return cast("ListPane[Any]", self.query_one(f"#{name}"))

    @property
    def situation(self) -> Situation:
        """The pane with the focus and the line under its cursor."""
        name = next((each for each in PANES if self.pane(each).has_focus), self._last_pane)
        pane = self.pane(name)
        return Situation(name, cast("Line | None", pane.current), pane.marked)

    @property
    def _last_pane(self) -> str:
        return next((each for each in PANES if self.pane(each).has_class("-last")), "models")

    @property
    def is_whole(self) -> bool:
        """Whether all its parts are there: they come after it, and go one by one while it is taken down."""
        there = {child.id for child in self.walk_children()}
        return there >= _PARTS

    # Showing

    def tell(self, event: Event | None) -> None:
        """Show what happened last, or nothing."""
        if self.is_whole:
            self.query_one(Narration).say(event)

    def show(self, touched: set[str]) -> None:
        """Show what was touched: names as `House.take` returns them."""
        if not self.is_whole:
            return
        if touched & {"reading", "promised"}:
            self.query_one(HardwareLine).show(self._house.reading, self._house.promised)
        if touched & {"models", "running", "jobs", "activities"}:
            self._show_models()
        if touched & {"workers", "running", "deaths", "activities"}:
            self._show_workers()
        if touched & {"jobs", "settings"}:
            self._show_downloads()
        if touched & {"workers", "running", "deaths", "activities", "jobs"}:
            self._arrange()

    def _show_models(self) -> None:
        house = self._house
        lines = self._models.lines(house, self._order, self._words("models"))
        every = len(house.models)
        figures = f"{every:,} {self.rbee.glyphs.dash} {size(self._models.held)}" if every else ""
        empty = _no_models(demo=self.rbee.options.demo) if "models" in house.known else _READING
        self._put("models", lines, every, ("1 Models", self._order.told(figures)), empty)

    def _show_workers(self) -> None:
        house = self._house
        installed = sum(entry.health is Health.OK for entry in house.workers)
        figures = f"{len(house.running)} running, {installed} installed"
        empty = _NO_WORKERS if "workers" in house.known else _READING
        shown = figures if house.running or house.workers else ""
        lines = worker_lines(house)
        found = matching(lines, self._words("workers"))
        self._put("workers", found, len(lines), ("2 Workers", shown), empty)

    def _show_downloads(self) -> None:
        house = self._house
        jobs = house.listed_jobs()
        unfinished = sum(not job.is_over for job in jobs)
        moving = [job for job in jobs if job.state == "running"]
        parts = [
            f"{len(moving)} of {unfinished} active" if unfinished else f"{len(jobs)} ended" if jobs else ""
        ]
        if total_rate(moving) > 0:
            parts.append(f"{size(int(total_rate(moving)))}/s")
        if house.settings.cap is not None:
            parts.append(f"cap {size(house.settings.cap)}/s")
        figures = f" {self.rbee.glyphs.dash} ".join(filter(None, parts))
        lines = download_lines(house)
        found = matching(lines, self._words("downloads"))
        self._put("downloads", found, len(lines), ("3 Downloads", figures), _NO_DOWNLOADS)

    def _words(self, name: str) -> list[str]:
        """What lines of a pane must have."""
        return self._filters[name].casefold().split()

    def _put(
        self, name: str, lines: Sequence[Keyed], every: int, caption: tuple[str, str], empty: Sequence[Drawn]
    ) -> None:
        """Show what is left of so many lines."""
        title, figures = caption
        if words := self._words(name):
            figures = f"{len(lines):,} of {every:,} match {' '.join(words)!r}"
            empty = _NO_MATCH
        self.pane(name).show(lines, title, figures, empty)

    # Room

    def on_resize(self, event: events.Resize) -> None:
        """Arrange the panes anew."""
        del event
        self._arrange()
        if self.is_whole:
            self.refresh_keys()

    def _arrange(self) -> None:
        columns, rows = self.size
        mode = layout.mode_for(columns, rows)
        if mode != "tiny" and self.has_class("-tiny"):  # what was hidden has lost the focus
            self.call_after_refresh(self.go_to, self._last_pane)
        for each in ("tiny", "single", "stacked", "wide"):
            self.set_class(each == mode, f"-{each}")
        grid = self.query_one("#panes", Grid)
        house = self._house
        wants = layout.Wants(len(house.models), len(worker_lines(house)), len(download_lines(house)))
        found = layout.heights(mode, rows - _BARS, wants) if mode in ("stacked", "wide") else (1,)
        wanted = " ".join(map(str, found)) if mode in ("stacked", "wide") else "1fr"
        if str(grid.styles.grid_rows) != wanted and getattr(self, "_rows", "") != wanted:
            self._rows = wanted
            grid.styles.grid_rows = wanted

    # Keys

    def action_do(self, name: str) -> None:
        """Do what a key of the table stands for, where it applies."""
        self.rbee.do(name, self.situation)

    def action_previous_pane(self) -> None:
        """Go to the pane before this one."""
        self.go_to(PANES[(PANES.index(self.situation.pane) - 1) % len(PANES)])

    def next_pane(self) -> None:
        """Go to the next pane."""
        self.go_to(PANES[(PANES.index(self.situation.pane) + 1) % len(PANES)])

    def go_to(self, name: str) -> None:
        """Give a pane the focus, at once."""
        self.set_focus(self.pane(name))

    def on_descendant_focus(self) -> None:
        """The footer speaks of the pane that has the focus, or of the field."""
        for each in PANES:
            if self.pane(each).has_focus:
                for other in PANES:
                    self.pane(other).set_class(other == each, "-last")
        if self.focused in [self.pane(each) for each in PANES]:
            self.remove_class(_FILTERING)
        self.refresh_keys()

    def on_list_pane_moved(self, event: "ListPane.Moved") -> None:
        """The footer speaks of the line under the cursor."""
        event.stop()
        self.refresh_keys()

    def on_list_pane_chosen(self, event: "ListPane.Chosen") -> None:
        """Enter shows all that is known of it."""
        event.stop()
        self.rbee.do("details", self.situation)

    def refresh_keys(self) -> None:
        """Show the keys that do something here: in the field all others are letters."""
        if self._is_filtering:
            self.query_one(KeyLine).show_words([("Enter", "Keep")], [("Esc", "Clear")])
            return
        situation = self.situation
        alone = self.has_class("-single")
        self.query_one(KeyLine).show(in_footer(situation, alone=alone), situation)

    # Order and filter

    def sort_next(self) -> None:
        """Sort the models by the next column."""
        self._order = self._order.next()
        self._show_models()

    def reverse(self) -> None:
        """Turn the order of the models round."""
        self._order = self._order.turned()
        self._show_models()

    def ask_filter(self) -> None:
        """Ask for the words that lines must have."""
        field = self.query_one("#filter", Input)
        self._filtered = self.situation.pane
        field.value = self._filters[self._filtered]
        self.add_class(_FILTERING)
        self.set_focus(field)

    @property
    def _is_filtering(self) -> bool:
        """Whether the field is open; it is in the row of what just happened."""
        return self.has_class(_FILTERING)

    async def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while one types."""
        if self._is_filtering:
            self._filters[self._filtered] = event.value
            self._show_filtered()
            # Now the pane says that it changed: else the letter is painted first, and the pane frames later.
            for _ in range(_HOPS):
                await asyncio.sleep(0)

    def _show_filtered(self) -> None:
        """Only the pane whose filter it is: a letter does not draw the others."""
        if self.is_whole:
            shows = {"models": self._show_models, "workers": self._show_workers}
            shows.get(self._filtered, self._show_downloads)()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._close_filter()

    def action_clear(self) -> None:
        """Take the marks away; where there are none, show everything again."""
        here = self.pane(self.situation.pane)
        if here.marked and not self._is_filtering:
            here.unmark()
            return
        name = self._filtered if self._is_filtering else self.situation.pane
        self._filters[name] = ""
        self._close_filter()
        self.show({"models", "workers", "jobs"})

    def _close_filter(self) -> None:
        if self._is_filtering:
            self.remove_class(_FILTERING)
            self.go_to(self._filtered)

    _filtered = "models"


class TooSmall(DrawnLines):
    """Stands in the place of everything where there is no room for it."""

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """What is needed, and what there is."""
        columns, rows = self.screen.size
        said = [
            f"rbee needs {layout.TINY_COLUMNS}x{layout.TINY_ROWS} at least",
            f"this is {columns}x{rows}; q quits",
        ]
        return [[(fit(said[y] if y < len(said) else "", width, "~"), "")] for y in range(height)]


def _model_columns(width: int) -> Sequence[Column]:
    return MODEL_COLUMNS if width >= layout.SINGLE_COLUMNS else NARROW_MODEL_COLUMNS


def _worker_columns(width: int) -> Sequence[Column]:
    return WORKER_COLUMNS if width >= _WIDE_WORKERS else NARROW_WORKER_COLUMNS


def _download_columns(width: int) -> Sequence[Column]:
    if width >= _WIDE_DOWNLOADS:
        return DOWNLOAD_COLUMNS
    return NARROW_DOWNLOAD_COLUMNS if width >= _NARROW_DOWNLOADS else SINGLE_DOWNLOAD_COLUMNS


def _key(key: str, text: str) -> Drawn:
    return [(key, "key"), (f"  {text}", "")]


def _no_models(*, demo: bool) -> list[Drawn]:
    what = "this demo's small Hub" if demo else "the Hugging Face Hub"
    return [
        [("No models yet.", "")],
        [],
        _key("a", f"adds one: it searches {what}"),
        _key("u", "takes up what other programs have on this disk"),
        _key("s", "then starts a worker on it"),
        _key("t", "and tries it out"),
    ]


_READING: list[Drawn] = [[("reading the catalog", "quiet")]]
_NO_MATCH: list[Drawn] = [[("Nothing matches.", "")], _key("Esc", "clears the filter")]
_NO_WORKERS: list[Drawn] = [
    [("No workers yet.", "")],
    _key("i", "installs one, here in this pane"),
    _key("s", "on a model installs the one that fits"),
]
_NO_DOWNLOADS: list[Drawn] = [
    [("No downloads.", "")],
    _key("a", "adds a model: its files are shown here as they come"),
]
