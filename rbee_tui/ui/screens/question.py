"""A question with its answers, each a key; Enter takes the first, Esc none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.screen import ModalScreen

from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.widgets.drawn import Drawn, DrawnLines, fit, width_of
from rbee_tui.ui.widgets.text_view import hang_of, wrapped

_WIDEST = 76
_SIDES = 6
_ANY_HEIGHT = 1 << 16
_BESIDE = 2
"""So many answers stand beside each other."""


@dataclass(frozen=True)
class Answer:
    """One answer: the key that gives it, its word, and what the asker gets."""

    key: str
    shown: str
    word: str
    value: str


@dataclass(frozen=True)
class Question:
    """What is asked: a title, lines with the names of their styles, the answers; Enter's is shown as that."""

    title: str
    lines: Sequence[tuple[str, str]]
    answers: Sequence[Answer]


class QuestionScreen(ModalScreen[str | None]):
    """Asks; the result is the answer's value, or None for Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss(None)", show=False),
        Binding("enter,y", "first", show=False),
    ]

    def __init__(self, question: Question, glyphs: Glyphs) -> None:
        super().__init__()
        self._question = question
        self._box = QuestionBox(question, glyphs)

    def compose(self) -> ComposeResult:
        """One box."""
        yield self._box

    def ask(self, question: Question) -> None:
        """Ask this instead: what is asked about has gone on."""
        if question != self._question:
            self._question = question
            self._box.ask(question)

    def on_resize(self) -> None:
        """Fit the box in again."""
        self._box.fit_screen()

    def action_first(self) -> None:
        """Take Enter's answer; where it has none, the question has been read."""
        first = next((each for each in self._question.answers if each.shown == "Enter"), None)
        self.dismiss(first.value if first else None)

    def on_key(self, event: Key) -> None:
        """Take the answer whose key it is."""
        for answer in self._question.answers:
            if event.key == answer.key:
                event.stop()
                self.dismiss(answer.value)
                return


class QuestionBox(DrawnLines):
    """The box, as high and wide as its text."""

    def __init__(self, question: Question, glyphs: Glyphs) -> None:
        super().__init__(id="question")
        self._question = question
        self._glyphs = glyphs

    def on_mount(self) -> None:
        """Fit into the screen."""
        self.fit_screen()

    def ask(self, question: Question) -> None:
        """Show another question."""
        self._question = question
        self.fit_screen()
        self.redraw()

    def fit_screen(self) -> None:
        """Take as much room as the text needs, once it is on a screen."""
        if not self.is_attached:
            return
        width = max(20, min(_WIDEST, self.screen.size.width - 4))
        self.styles.width = width
        self.styles.height = min(self.screen.size.height, len(self._text(width)) + 2)

    def _text(self, width: int, height: int = _ANY_HEIGHT) -> list[tuple[str, str]]:
        """The rows of the box, with at least as many of the answers as there is room for."""
        inner = width - _SIDES
        rows = [
            (row, style)
            for text, style in self._question.lines
            for row in wrapped(text, inner, hang_of(text))
        ]
        answers = self._answers(inner)
        asked = [("", ""), *rows, ("", "")]
        return [*asked[: max(0, height - len(answers))], *answers][:height]

    def _answers(self, inner: int) -> list[tuple[str, str]]:
        """The answers in as few rows as fit, many of them in a row each; keys stand before words."""
        rows: list[str] = [""]
        for answer in (*self._question.answers, Answer("escape", "Esc", "Back", "")):
            said = f"{answer.shown} {answer.word}"
            crowded = len(self._question.answers) > _BESIDE or cell_len(rows[-1]) + cell_len(said) + 3 > inner
            if rows[-1] and crowded:
                rows.append("")
            rows[-1] += ("   " if rows[-1] else "") + said
        answers: list[tuple[str, str]] = []
        for row in rows:
            first, *more = wrapped(row, inner, row.find(" ") + 1)
            answers += [(first, "answers"), *((each, "") for each in more)]
        return answers

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """The box's frame and text."""
        left, across, right, side, low_left, low_right = self._glyphs.frame
        title = fit(self._question.title, min(cell_len(self._question.title), width - 6), self._glyphs.more)
        top: Drawn = [(f"{left}{across}", "title"), (f" {title} ", "title strong")]
        top.append((across * (width - 1 - width_of(top)) + right, "title"))
        drawn = [top]
        for text, style in self._text(width, height - 2):
            inner = self._keys(text) if style == "answers" else [(text, style)]
            used = width_of(inner)
            drawn.append(
                [(f"{side}  ", "title"), *inner, (" " * (width - _SIDES - used), ""), (f"  {side}", "title")]
            )
        while len(drawn) < height - 1:
            drawn.append([(side, "title"), (" " * (width - 2), ""), (side, "title")])
        return [*drawn, [(low_left + across * (width - 2) + low_right, "title")]]

    def _keys(self, row: str) -> Drawn:
        """A row of answers with its keys in their colour."""
        drawn: Drawn = []
        for number, part in enumerate(row.split("   ")):
            key, _, word = part.partition(" ")
            drawn += [("   " if number else "", ""), (key, "key"), (f" {word}", "")]
        return drawn
