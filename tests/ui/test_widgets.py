"""What the widgets compute before they paint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rbee_tui.ui.glyphs import UNICODE
from rbee_tui.ui.lines import (
    DOWNLOAD_COLUMNS,
    MODEL_COLUMNS,
    NARROW_DOWNLOAD_COLUMNS,
    WORKER_COLUMNS,
    Column,
)
from rbee_tui.ui.widgets.bars import HardwareLine
from rbee_tui.ui.widgets.drawn import fit, last_difference, width_of
from rbee_tui.ui.widgets.list_pane import beside_the_last, fitted
from rbee_tui.ui.widgets.text_view import hang_of, wrapped
from tests.ui.figures import reading

TEXTS = st.text(st.one_of(st.sampled_from("ab  1%漢━╸"), st.characters(exclude_categories=("C", "Z"))))
PARTS = st.tuples(st.text("ab1 漢━", max_size=6), st.sampled_from(["", "ok", "busy"]))
LINES = st.lists(PARTS, max_size=6)


def cells(drawn) -> list[tuple[str, str]]:
    """A line cell by cell, a wide character in its first one."""
    found = []
    for text, style in drawn:
        for character in text:
            found += [(character, style), *[("", style)] * (cell_len(character) - 1)]
    return found


def padded(drawn, width: int):
    return [*drawn, (" " * (width - width_of(drawn)), "")]


class TestLastDifference:
    """How much of a line has to be written again."""

    @given(LINES, LINES)
    def test_what_is_repainted_turns_old_into_new(self, old, new):
        """Writing the new line's beginning over the old one, up to there, is enough."""
        width = max(width_of(old), width_of(new))
        old, new = padded(old, width), padded(new, width)
        end = last_difference(old, new)
        assert cells(new)[:end] + cells(old)[end:] == cells(new)
        assert 1 <= end <= max(1, width)

    @given(LINES)
    def test_changed_figures_on_the_left_cost_little(self, rest):
        """Nothing of what stands after them is written."""
        old, new = [("61 %", ""), ("  ", ""), *rest], [("62 %", ""), ("  ", ""), *rest]
        assert last_difference(old, new) == 2

    def test_one_that_ends_too_early_would_be_found(self):
        """The mutant: a cell less is not enough."""
        old, new = [("a", ""), ("1", ""), ("z", "")], [("a", ""), ("2", ""), ("z", "")]
        end = last_difference(old, new) - 1
        assert cells(new)[:end] + cells(old)[end:] != cells(new)


class TestWrapped:
    """Long lines as rows."""

    @given(TEXTS, st.integers(2, 40), st.integers(0, 60))
    def test_no_row_is_too_wide_and_nothing_is_lost(self, text, width, hang):
        """But the spaces at which it was broken; it ends, however narrow and however far it hangs."""
        rows = wrapped(text, width, hang)
        assert all(cell_len(row) <= width for row in rows)
        assert "".join(rows).replace(" ", "") == text.replace(" ", "")

    @given(TEXTS, st.integers(1, 3))
    def test_it_ends_in_the_narrowest_of_rooms(self, text, width):
        """Where a wide character does not fit at all."""
        assert "".join(wrapped(text, width, 9)).replace(" ", "") == text.replace(" ", "")

    def test_at_spaces(self):
        """Where there are some; below its label where it has one."""
        assert wrapped("one two three", 8) == ["one two", "three"]
        assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]
        assert wrapped("because  it fits here", 16, 9) == ["because  it fits", "        here"]
        assert wrapped("", 8) == [""]

    def test_where_it_hangs(self):
        """Below what stands after a label, else below its own beginning."""
        assert [hang_of(text) for text in ("because  it fits", "    it fits", "it fits")] == [9, 4, 0]


class TestFit:
    """A text in so many cells."""

    @given(TEXTS, st.integers(0, 40), st.booleans(), st.none() | st.integers(0, 3))
    def test_exactly(self, text, width, right, head):
        """Cut with a sign, or filled up."""
        assert cell_len(fit(text, width, "~", right=right, head=head)) == width

    def test_where_it_stands(self):
        """Numbers on the right, words on the left."""
        assert (fit("9", 3, "~", right=True), fit("ab", 3, "~"), fit("abcd", 3, "~")) == ("  9", "ab ", "ab~")

    @pytest.mark.parametrize(
        ("width", "shown"),
        [
            (9, "> a-1.bin"),
            (8, "> ~1.bin"),
            (4, "> ~n"),
            (3, "> ~"),
            (2, ">~"),
        ],
    )
    def test_its_end_stays(self, width: int, shown: str):
        """And what it begins with."""
        assert fit("> a-1.bin", width, "~", head=2) == shown


class TestHardware:
    """What is left out where there is little room."""

    @pytest.fixture
    def line(self) -> HardwareLine:
        """Of a machine with two GPUs, of whose disk a part is promised."""
        found = HardwareLine(UNICODE, "someone@machine")
        found.show(reading(3, gpus=2), 10_500_000_000)
        return found

    @pytest.mark.parametrize(
        ("width", "said", "left_out"),
        [
            (200, ["someone@machine", "GPU0", "GPU1", "promised"], []),
            (92, ["GPU0", "80.0 GB free", "(-10.5 GB)"], ["someone", "GPU1"]),
            (80, ["GPU0", "80.0 GB free"], ["10.5"]),
            (50, ["RAM", "GPU0", "81%"], ["94.0", "disk"]),
        ],
    )
    def test_in_short(self, line: HardwareLine, width: int, said: list[str], left_out: list[str]):
        """The free disk stays longer than what is promised of it."""
        (drawn,) = line.compose_lines(width, 1)
        text = "".join(each for each, _ in drawn)
        assert cell_len(text) == width
        assert [each for each in said if each not in text] == []
        assert [each for each in left_out if each in text] == []


class TestColumns:
    """Their widths."""

    @pytest.mark.parametrize(
        ("width", "titles"),
        [(80, "ABCN"), (46, "ABCN"), (45, "ABN"), (35, "ABN"), (34, "AN"), (25, "AN"), (24, "N"), (3, "N")],
    )
    def test_the_name_has_its_width(self, width: int, titles: str):
        """Others go from the right, and each keeps its cell."""
        columns = [Column("A", 2), Column("B", 8), Column("C", 9), Column("N", 20, weight=1)]
        found = beside_the_last(columns, width)
        assert "".join(each.title for each in found) == titles
        assert [each.cell for each in found] == ["ABCN".index(title) for title in titles]

    @given(
        st.sampled_from([MODEL_COLUMNS, WORKER_COLUMNS, DOWNLOAD_COLUMNS, NARROW_DOWNLOAD_COLUMNS]),
        st.integers(0, 500),
    )
    def test_they_fill_the_room(self, columns, width):
        """From where all of them fit; those of numbers keep theirs always."""
        found = fitted(columns, width)
        assert len(found) == len(columns)
        assert all(new.width == old.width for new, old in zip(found, columns, strict=True) if not old.weight)
        used = sum(column.width for column in found) + 2 * (len(found) - 1) + 1
        assert used == width or (used > width and all(not each.width for each in found if each.weight))

    def test_at_80_columns_a_name_can_be_read(self):
        """Of every pane, inside its frame."""
        for columns in (MODEL_COLUMNS, WORKER_COLUMNS, NARROW_DOWNLOAD_COLUMNS):
            assert fitted(columns, 78)[-1].width >= 14
