"""What the screen knows: the latest of everything, in the order in which one looks for it."""

import pytest

from rbee_tui.engine.board import Changes
from rbee_tui.ui.house import House, total_rate
from tests.ui.things import a_house, a_job, a_model, a_running


class TestTake:
    """Changes of the engine's board."""

    def test_values_are_replaced(self):
        """And what was touched is told, jobs all together."""
        house = House()
        touched = house.take(Changes({"models": [a_model()], "job:1": a_job("1"), "promised": 7}, []))
        assert touched == {"models", "jobs", "promised"}
        assert (house.promised, list(house.jobs)) == (7, ["1"])
        house.take(Changes({"models": []}, []))
        assert (house.models, list(house.jobs)) == ([], ["1"])

    def test_what_has_come_is_known(self):
        """An empty catalog is one that was read."""
        house = House()
        house.take(Changes({"models": []}, []))
        assert house.known == {"models"}
        assert house.take(Changes({}, [])) == set()


class TestJobs:
    """Downloads as the pane lists them."""

    def test_their_order(self):
        """What moves, what waits, what stands still, what failed, what is done; the cancelled not at all."""
        states = ["done", "cancelled", "failed", "paused", "queued", "running", "interrupted"]
        jobs = [a_job(state, state=state) for state in states]
        assert [job.id for job in a_house(jobs=jobs).listed_jobs()] == [
            "running",
            "queued",
            "paused",
            "interrupted",
            "failed",
            "done",
        ]

    def test_of_those_that_ended_the_newest_is_first(self):
        """The others stay as they came: a line that moves is hard to read."""
        jobs = [
            a_job("old", state="done", created_at="2026-01-01T00:00:00Z"),
            a_job("new", state="done", created_at="2026-01-02T00:00:00Z"),
            a_job("first", created_at="2026-01-01T00:00:00Z"),
            a_job("second", created_at="2026-01-02T00:00:00Z"),
        ]
        assert [job.id for job in a_house(jobs=jobs).listed_jobs()] == ["first", "second", "new", "old"]

    def test_those_that_move(self):
        """And what they bring together."""
        house = a_house(jobs=[a_job("1"), a_job("2", state="queued", rate=0.0), a_job("3", state="paused")])
        assert [job.id for job in house.moving_jobs()] == ["1", "2"]
        assert total_rate(house.moving_jobs()) == 2e6

    @pytest.mark.parametrize(("state", "found"), [("paused", True), ("failed", False), ("done", False)])
    def test_a_model_s_unfinished_one(self, state, found):
        """The last one where there are several."""
        house = a_house(jobs=[a_job("1", state=state)])
        assert (house.job_of("tiny") is not None) is found
        both = a_house(jobs=[a_job("1"), a_job("2")])
        assert both.job_of("tiny").id == "2"
        assert both.job_of("other") is None

    def test_things_by_their_names(self):
        """None where there is none."""
        house = a_house(models=[a_model("a")], running=[a_running("a")])
        assert house.model("a") is house.models[0]
        assert house.running_on("a") is house.running[0]
        assert (house.model("b"), house.running_on("b")) == (None, None)
