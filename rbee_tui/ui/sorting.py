"""The order of the models: by name, or by another column, either way round. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rbee_tui.ui.lines import ModelLine

_TO_THE_SECOND = 14
"""Digits of a date and time."""
Key = Callable[[ModelLine], tuple[float | str, ...]]


def _size(line: ModelLine) -> tuple[float | str, ...]:
    return (-line.entry.artifact.size_bytes if line.entry.artifact else 1, line.entry.id)


def _status(line: ModelLine) -> tuple[float | str, ...]:
    return (
        0 if line.running else 1 if line.job or line.activity else 2,
        str(line.entry.health),
        line.entry.id,
    )


def _updated(line: ModelLine) -> tuple[float | str, ...]:
    # It may come from outside: `isdigit` also holds of what no number is made of, and fractions may be told.
    digits = [each for each in line.entry.updated_at or "" if each in "0123456789"][:_TO_THE_SECOND]
    return (-float("".join(digits) or 0), line.entry.id)


_KEYS: tuple[tuple[str, Key | None], ...] = (
    ("name", None),
    ("size", _size),
    ("status", _status),
    ("last change", _updated),
)


@dataclass(frozen=True)
class Order:
    """By which column the models are sorted; the catalog has them by name already."""

    column: int = 0
    backwards: bool = False

    def next(self) -> "Order":
        """By the next column, its own way round."""
        return Order((self.column + 1) % len(_KEYS))

    def turned(self) -> "Order":
        """The other way round."""
        return replace(self, backwards=not self.backwards)

    def sorted(self, lines: Sequence[ModelLine]) -> Sequence[ModelLine]:
        """The lines in this order."""
        key = _KEYS[self.column][1]
        if key is not None:
            return sorted(lines, key=key, reverse=self.backwards)
        return lines[::-1] if self.backwards else lines

    def told(self, figures: str) -> str:
        """A pane's figures with the order, where it is not the usual one."""
        if self == Order() or not figures:
            return figures
        return f"{figures}, by {_KEYS[self.column][0]}" + (" reversed" if self.backwards else "")
