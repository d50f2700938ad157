"""The benchmark of the screen, at a tiny size: it runs, and knows every figure that it promises."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.screen.standstill import Sample, longest, losses

SCRIPT = Path(__file__).with_name("measure.py")
TINY = {
    "models": 5,
    "jobs": 2,
    "size": 4_000_000,
    "rate": 500_000,
    "full-size": 200_000,
    "full-rate": 400_000,
    "rounds": 1,
    "seconds": 0.8,
    "settle": 0.2,
    "presses": 4,
    "stall": 0.3,
}


class TestMeasure:
    """`python tests/benchmarks/screen/measure.py`."""

    @pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: it reads /proc")
    def test_it_measures_every_figure(self, tmp_path: Path):
        """The table has a figure in every row, and the file has the same as JSON."""
        found = tmp_path / "figures.json"
        words = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--json", str(found), *words],
            env=kept,
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        rows = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
        figures = json.loads(found.read_text())
        assert len(rows) == len(figures["rbee"]) == 19
        assert all(row.split("|")[3].strip() for row in rows)
        assert figures["rbee"]["written, busy"] > 0
        assert figures["label"]["memory, idle"] < figures["rbee"]["memory, idle"]


def moving(*pauses: tuple[float, float]) -> list[Sample]:
    """Eight seconds of one transfer that brings 100 bytes each 0.1 s, but for some pauses."""
    found, sent = [Sample(0.0, {"a": 1, "b": 0})], 1
    for tick in range(1, 81):
        sent += 0 if any(start < tick / 10 <= end for start, end in pauses) else 100
        found.append(Sample(tick / 10, {"a": sent, "b": 0}))
    return found


class TestStandstill:
    """What is made of the samples."""

    def test_the_longest(self):
        """In the middle, at the end, at the beginning."""
        assert longest(moving(), "a") == pytest.approx(0.1)
        for pause in ((3.0, 5.0), (6.0, 8.0), (0.0, 1.9)):
            assert longest(moving((1.0, 1.5), pause), "a") == pytest.approx(2.0, abs=0.11)

    def test_what_a_stall_costs(self):
        """By the rate and in time, of those that were under way in both windows."""
        assert losses(moving(), moving((2.0, 5.0)), 10**6) == pytest.approx((3.0, 3.0), rel=0.02)
        assert losses(moving(), moving((5.0, 8.0)), 10**6) == pytest.approx((0.0, 3.0), rel=0.04)
        assert losses(moving((2.0, 3.0)), moving((4.0, 5.0)), 10**6) == pytest.approx((0.0, 0.0))

    def test_one_that_ends_has_lost_nothing(self):
        """Nor has one that has not begun."""
        with pytest.raises(AssertionError, match="nothing moved"):
            losses(moving(), moving(), 5000)
