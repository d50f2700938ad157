"""Where the style sheets lie: inside the installed package, or beside it in a checkout."""

import re
from pathlib import Path
from typing import Literal

import rbee_tui

_VARIABLE = re.compile(r"^\$([\w-]+):\s*([^;]+);", re.MULTILINE)
_PACKAGE = Path(rbee_tui.__file__).resolve().parent


def directory() -> Path:
    """The directory of the `*.tcss` files; a wheel has it in the package, an editable install above it."""
    inside = _PACKAGE / "styles"
    return inside if inside.is_dir() else _PACKAGE.parent / "styles"


def sheets() -> list[Path]:
    """Every style sheet but the palettes, in the order of their names."""
    return sorted(path for path in directory().glob("*.tcss") if not path.name.startswith("palette"))


def palette(kind: Literal["true", "ansi"]) -> dict[str, str]:
    """The names of colours and what they stand for, from `palette-KIND.tcss`; every sheet can use them."""
    text = (directory() / f"palette-{kind}.tcss").read_text(encoding="utf-8")
    return dict(_VARIABLE.findall(text))
