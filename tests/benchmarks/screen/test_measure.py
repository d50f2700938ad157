"""The benchmark of the screen, at a tiny size: it runs, and knows every figure that it promises."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
        assert len(rows) == len(figures["rbee"]) == 18
        assert all(row.split("|")[3].strip() for row in rows)
        assert figures["rbee"]["written, busy"] > 0
        assert figures["label"]["memory, idle"] < figures["rbee"]["memory, idle"]
