"""Where the style sheets lie: inside the installed package, or beside it in a checkout."""

from pathlib import Path

import rbee_tui

_PACKAGE = Path(rbee_tui.__file__).resolve().parent


def directory() -> Path:
    """The directory of the `*.tcss` files; a wheel has it in the package, an editable install above it."""
    inside = _PACKAGE / "styles"
    return inside if inside.is_dir() else _PACKAGE.parent / "styles"


def sheets() -> list[Path]:
    """Every style sheet, in the order of their names."""
    return sorted(directory().glob("*.tcss"))
