"""Trying a model out: a question, and its answer as it comes, with its figures."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import Worker

from rbee_tui.engine.errors import RbeeError
from rbee_tui.engine.text import clean
from rbee_tui.engine.workers.prompting import Chunk, Usage, figures
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.screens.base import Keys, Sheet
from rbee_tui.ui.widgets.field import Field
from rbee_tui.ui.widgets.text_view import TextView

Ask = Callable[[str], AsyncGenerator[Chunk]]


class PromptScreen(Sheet[None]):
    """Questions and answers; Esc stops an answer that is coming, then leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
        Binding("up", "scroll(-1)", show=False, priority=True),
        Binding("down", "scroll(1)", show=False, priority=True),
    ]
    KEYS: ClassVar[Keys] = (("Enter", "Ask"), ("PgUp PgDn", "Scroll"))

    def __init__(self, model_id: str, ask: Ask, glyphs: Glyphs) -> None:
        super().__init__(f"Try {clean(model_id)}")
        self._ask = ask
        self._glyphs = glyphs
        self._answering: Worker[None] | None = None

    def body(self) -> Iterator[Widget]:
        """What was said, and the field for the next question."""
        yield TextView(self._glyphs, follow=True, id="said")
        yield Field(placeholder="ask something, then Enter", id="question")

    @property
    def said(self) -> TextView:
        """Questions and answers so far."""
        return self.query_one("#said", TextView)

    def opened(self) -> None:
        """Write right away."""
        self.said.can_focus = False
        self.query_one("#question", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask, unless an answer is still coming."""
        text = event.value.strip()
        if not text or self._is_answering:
            return
        event.input.clear()
        self._answering = self.run_worker(self._answer(text), group="answer", exit_on_error=False)

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and self._answering.is_running

    async def _answer(self, text: str) -> None:
        self.said.add_lines([("> " + clean(text), "accent"), ("", "")])
        self._tell("answering; Esc stops it")
        usage: Usage | None = None
        ended = "stopped"
        try:
            async with aclosing(self._ask(text)) as chunks:
                async for chunk in chunks:
                    usage = chunk.usage or usage
                    self.said.add_text(_safe(chunk.text))
            ended = ""
        except RbeeError as error:
            self.said.add_lines([(str(error), "wrong"), (error.hint, "quiet")])
            ended = "failed"
        finally:
            self.said.add_lines([("", "")])
            self._tell(", ".join(filter(None, (ended, figures(usage) if usage else ""))))

    def _tell(self, said: str) -> None:
        if self.is_mounted:
            self.say_below(said)

    def action_back(self) -> None:
        """Stop the answer that is coming; leave where none is."""
        if self._is_answering and self._answering is not None:
            self._answering.cancel()
        else:
            super().action_back()

    def action_page(self, direction: int) -> None:
        """Scroll what was said by a page."""
        self.said.action_page(direction)

    def action_scroll(self, by: int) -> None:
        """Scroll what was said by a line."""
        self.said.action_scroll_by(by)


def _safe(text: str) -> str:
    """A piece of an answer, its line breaks kept, everything else that drives a terminal made visible."""
    return "\n".join(clean(line.replace("\t", "    ")) for line in text.split("\n"))
