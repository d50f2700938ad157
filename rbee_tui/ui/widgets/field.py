"""A field to write in."""

from textual.widgets import Input


class Field(Input):
    """An Input whose cursor stands still: one that blinks writes to the terminal for ever, over SSH too."""

    def on_mount(self) -> None:
        """Keep the cursor lit."""
        self.cursor_blink = False
