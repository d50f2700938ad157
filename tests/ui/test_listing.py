"""The models as their pane lists them, arranged once."""

import pytest

from rbee_tui.engine.artifacts import Health
from rbee_tui.ui.house import Activity, House
from rbee_tui.ui.lines import ModelLine, model_lines
from rbee_tui.ui.listing import ModelList
from rbee_tui.ui.sorting import Order
from tests.ui.things import a_house, a_job, a_model, a_running, unreadable

ORDERS = [Order(column, backwards) for column in range(4) for backwards in (False, True)]


def a_full_house() -> House:
    """Four models: one runs, one comes, one has nothing, one cannot be read."""
    found = a_house(
        models=[a_model("a"), a_model("b", Health.PARTIAL), a_model("c", size_bytes=7), unreadable("d")],
        running=[a_running("a")],
    )
    found.jobs = {"1": a_job("1", model_id="b", state="running", downloaded=1)}
    return found


def anew(house: House, order: Order) -> list[ModelLine]:
    """What it has to be, without anything that was kept."""
    return list(order.sorted(model_lines(house)))


class TestModelList:
    """What is kept is never what was."""

    @pytest.mark.parametrize("order", ORDERS)
    def test_it_is_what_an_arrangement_from_the_start_would_be(self, order):
        """After each kind of change, in every order."""
        house, models = a_full_house(), ModelList()
        assert list(models.lines(house, order, [])) == anew(house, order)
        house.jobs["1"] = a_job("1", model_id="b", state="running", downloaded=2)
        assert list(models.lines(house, order, [])) == anew(house, order), "a download went on"
        house.jobs["2"] = a_job("2", model_id="c", state="queued")
        assert list(models.lines(house, order, [])) == anew(house, order), "another began"
        house.jobs["1"] = a_job("1", model_id="b", state="done")
        assert list(models.lines(house, order, [])) == anew(house, order), "one ended"
        house.running = []
        assert list(models.lines(house, order, [])) == anew(house, order), "a worker stopped"
        house.activities["x"] = Activity("verifying", "d", 0.5)
        assert list(models.lines(house, order, [])) == anew(house, order), "something was asked for"
        house.models = house.models[1:]
        assert list(models.lines(house, order, [])) == anew(house, order), "a model went away"

    def test_a_list_that_was_given_out_stays(self):
        """A pane compares what is under its cursor with what was."""
        house, models = a_full_house(), ModelList()
        before = models.lines(house, Order(), [])
        copy = list(before)
        house.jobs["1"] = a_job("1", model_id="b", state="running", downloaded=2)
        assert list(models.lines(house, Order(), [])) != copy
        assert list(before) == copy

    def test_a_download_costs_its_own_line(self, monkeypatch):
        """Nothing is arranged, and a line is made when it is looked at."""
        house, models = a_full_house(), ModelList()
        before = models.lines(house, Order(1), [])
        house.jobs["1"] = a_job("1", model_id="b", state="running", downloaded=2)
        monkeypatch.setattr(Order, "sorted", None)
        after = models.lines(house, Order(1), [])
        assert [a.key for a, b in zip(after, before, strict=True) if a != b] == ["b"]

    def test_it_is_a_sequence(self):
        """Counted, looked at from either end, and turned round."""
        lines = ModelList().lines(a_full_house(), Order(), [])
        assert (len(lines), lines[0].key, lines[-1].key) == (4, "a", "d")
        assert [line.key for line in lines[::-1]] == ["d", "c", "b", "a"]

    def test_words_filter_and_figures_are_of_all(self):
        """Those that are here count whole, whatever is filtered."""
        house, models = a_full_house(), ModelList()
        a, _, c, _ = (entry.artifact.size_bytes if entry.artifact else 0 for entry in house.models)
        assert [line.key for line in models.lines(house, Order(), ["c"])] == ["c"]
        assert models.held == a + c + 1
        assert [line.key for line in models.lines(house, Order(), [])] == ["a", "b", "c", "d"]

    @pytest.mark.parametrize(
        ("health", "downloaded", "counts"),
        [
            (Health.OK, None, 7),
            (Health.OK, 3, 7),  # newer files of it come beside it
            (Health.DAMAGED, None, 7),
            (Health.MISSING, None, 0),
            (Health.PARTIAL, None, 0),
            (Health.PARTIAL, 3, 3),
            (Health.ARRIVING, None, 0),
        ],
    )
    def test_what_is_here_of_a_model(self, health: Health, downloaded: int | None, counts: int):
        """All of it, or what a download has brought."""
        house, models = a_house(models=[a_model("m", health, size_bytes=7)]), ModelList()
        if downloaded is not None:
            house.jobs["1"] = a_job("1", model_id="m", state="running", downloaded=downloaded)
        models.lines(house, Order(), [])
        assert models.held == counts
        if downloaded is not None and health is not Health.OK:
            house.jobs["1"] = a_job("1", model_id="m", state="running", downloaded=downloaded + 2)
            models.lines(house, Order(), [])
            assert models.held == counts + 2
