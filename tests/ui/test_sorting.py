"""The order of the models."""

from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.engine.artifacts import Health
from rbee_tui.ui.lines import ModelLine
from rbee_tui.ui.sorting import Order
from tests.ui.things import a_job, a_model, a_running, unreadable

LINES = [
    ModelLine(a_model("a", size_bytes=1, updated_at="2026-01-03T00:00:00Z")),
    ModelLine(a_model("b", size_bytes=3, updated_at="2026-01-01T00:00:00Z"), running=a_running("b")),
    ModelLine(a_model("c", size_bytes=2, updated_at="2026-01-02T00:00:00Z"), job=a_job(model_id="c")),
    ModelLine(unreadable("d")),
]


def ids(order: Order) -> str:
    return "".join(line.entry.id for line in order.sorted(LINES))


class TestOrder:
    """By name, size, status, last change."""

    def test_each_column_its_own_way_round(self):
        """The largest, the busiest, the latest first; what has none last."""
        by = Order()
        found = []
        for _ in range(4):
            found.append(ids(by))
            by = by.next()
        assert found == ["abcd", "bcad", "bcda", "acbd"]
        assert by == Order(), "after the last comes the first"

    def test_the_other_way_round(self):
        """And back."""
        assert ids(Order().turned()) == "dcba"
        assert ids(Order(1).turned()) == "dacb"
        assert Order(1).turned().turned() == Order(1)

    def test_it_is_told(self):
        """Unless it is the usual one, or there is nothing to sort."""
        assert Order().told("4 · 6 B") == "4 · 6 B"
        assert Order(1).told("4 · 6 B") == "4 · 6 B, by size"
        assert Order(0, backwards=True).told("4 · 6 B") == "4 · 6 B, by name reversed"
        assert Order(1).told("") == ""

    @given(st.integers(0, 3), st.booleans(), st.lists(st.sampled_from(LINES)))
    def test_nothing_is_lost(self, column, backwards, lines):
        """Whatever the order."""
        found = Order(column, backwards).sorted(lines)
        assert sorted(map(id, found)) == sorted(map(id, lines))

    @given(st.text(max_size=30))
    def test_a_date_from_outside_may_be_anything(self, stamp):
        """Nothing is taken down by it; one with fractions of a second is no later for these."""
        Order(3).sorted([ModelLine(a_model("a", updated_at=stamp)), *LINES])
        stamps = ("2026-01-01T00:00:00.123Z", "2026-01-02T00:00:00Z")
        fine, later = (ModelLine(a_model("a", updated_at=at)) for at in stamps)
        assert Order(3).sorted([fine, later]) == [later, fine]

    def test_the_ill_before_the_well(self):
        """Among those with which nothing goes on: they want something."""
        well, ill = ModelLine(a_model("a")), ModelLine(a_model("z", health=Health.DAMAGED))
        assert Order(2).sorted([well, ill]) == [ill, well]
