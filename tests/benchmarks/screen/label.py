"""The least that a Textual application is: one label, which each key changes."""

from textual import events
from textual.app import App, ComposeResult
from textual.widgets import Label

SHOWN = "one label"


class OneLabel(App[None]):
    """Shows a label, and counts keys in it."""

    def compose(self) -> ComposeResult:
        """The label."""
        yield Label(f"▎{SHOWN}", id="label")

    def on_key(self, event: events.Key) -> None:
        """Show which key it was."""
        self.query_one("#label", Label).update(f"▎{event.key} {event.time}")


if __name__ == "__main__":
    OneLabel().run(mouse=False)
