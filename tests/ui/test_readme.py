"""The README's pictures and its table of keys are those of the screen."""

import re
from pathlib import Path

import pytest

from rbee_tui.ui.keys import ACTIONS, GROUPS, MOVING

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
BEGIN, END = "<!-- keys: drawn by tests/ui/test_readme.py -->\n", "<!-- /keys -->\n"


def table() -> str:
    """The table of keys as Markdown."""
    rows = ["| key | what it does |", "|---|---|"]
    rows += [f"| {_code(keys)} | {text} |" for keys, text in MOVING]
    for group in GROUPS:
        rows += [f"| `{action.shown}` | {action.help} |" for action in ACTIONS if action.group == group]
    return "\n".join(rows) + "\n"


def _code(keys: str) -> str:
    return " ".join(key if key == "arrows" else f"`{key}`" for key in keys.replace(",", "").split())


class TestTheReadme:
    """A picture or a key that is no longer so would mislead whoever reads it."""

    def test_its_table_of_keys_is_the_one_table(self, request: pytest.FixtureRequest) -> None:
        """With --draw it is written anew."""
        text = README.read_text(encoding="utf-8")
        before, begin, rest = text.partition(BEGIN)
        found, end, after = rest.partition(END)
        assert begin, "the README has no table of keys"
        assert end, "the README's table of keys has no end"
        if request.config.getoption("--draw"):
            README.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
            return
        assert found == table(), "pytest tests/ui/test_readme.py --draw writes it anew"

    def test_its_pictures_are_in_the_album(self) -> None:
        """They are drawn by the snapshots' tests, so they are current."""
        pictures = re.findall(r"!\[[^\]]*\]\((snapshots/[^)]+)\)", README.read_text(encoding="utf-8"))
        assert pictures
        assert all((CHECKOUT / path).is_file() for path in pictures)
