"""How the panes share the screen. Pure; heights in rows, frames included."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["single", "stacked", "wide", "tiny"]

WIDE_COLUMNS = 110
SINGLE_COLUMNS, SINGLE_ROWS = 60, 15
TINY_COLUMNS, TINY_ROWS = 40, 8
_LEAST = 5
"""A frame, the column titles and two lines."""


@dataclass(frozen=True)
class Wants:
    """How many lines each pane has to show."""

    models: int
    workers: int
    downloads: int


def mode_for(columns: int, rows: int) -> Mode:
    """One pane at a time where there is little room, panes below each other, or two beside each other."""
    if columns < TINY_COLUMNS or rows < TINY_ROWS:
        return "tiny"
    if columns < SINGLE_COLUMNS or rows < SINGLE_ROWS:
        return "single"
    return "wide" if columns >= WIDE_COLUMNS else "stacked"


def heights(mode: Mode, rows: int, wants: Wants) -> tuple[int, ...]:
    """The heights of the rows of panes: models, workers, downloads; or, where it is wide, two rows.

    What has little to show gets little; what is left goes to the models, or above to both.
    """
    if mode == "wide":
        downloads = max(_LEAST + 1, min(wants.downloads + 3, rows // 2))
        return rows - downloads, downloads
    share = rows // 3
    least = min(_LEAST, share)
    workers = max(least, min(wants.workers + 3, share))
    downloads = max(least, min(wants.downloads + 3, share + max(0, share - workers)))
    return rows - workers - downloads, workers, downloads
