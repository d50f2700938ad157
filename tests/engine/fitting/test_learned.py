"""Measured workers correct later estimates, within bounds, and it is shown."""

from pathlib import Path

import pytest

from rbee_tui.demo import tiny
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.fitting.learned import Learned, Pair, correction
from rbee_tui.engine.paths import Root

MIB = 1 << 20
GIB = 1 << 30


class TestCorrection:
    """The median of what was missing."""

    @pytest.mark.parametrize(
        ("pairs", "expected"),
        [
            ([], 0),
            ([Pair(GIB, GIB + 80 * MIB)], 80 * MIB),
            ([Pair(GIB, GIB // 2)], 0),
            ([Pair(GIB, GIB + 10 * MIB), Pair(GIB, GIB + 30 * MIB), Pair(GIB, 9 * GIB)], 30 * MIB),
            ([Pair(100 * MIB, 5 * GIB)], 138 * MIB),
            ([Pair(100 * GIB, 200 * GIB)], GIB),
        ],
    )
    def test_it_is_bounded(self, pairs: list[Pair], expected: int):
        """Never below nothing, never more than a tenth and a little."""
        assert abs(correction(pairs) - expected) <= 1


class TestLearned:
    """Kept by architecture."""

    def test_it_is_kept(self, root: Root):
        """The last eight of each, and nothing that cannot be compared."""
        learned = Learned(root)
        for number in range(20):
            learned.note("llama", GIB, GIB + number * MIB)
        learned.note("qwen3", GIB, GIB)
        learned.note(None, GIB, GIB)
        learned.note("llama", 0, GIB)
        assert len(learned.pairs("llama")) == 8
        assert Learned(root).correction("llama") == int(15.5 * MIB)
        assert learned.correction("qwen3") == learned.correction("gemma3") == 0

    def test_a_damaged_file_is_nothing(self, root: Root):
        """And is replaced by the next lesson."""
        (root.state / "measured.json").write_text("{")
        learned = Learned(root)
        assert learned.correction("llama") == 0
        learned.note("llama", GIB, GIB + MIB)
        assert learned.correction("llama") == MIB

    def test_later_estimates_are_corrected(self, root: Root, tmp_path: Path):
        """On this machine, and shown as such."""
        path = tiny.write(tmp_path / "tiny.gguf").path
        engine = Engine(root)
        before = engine.fitter.of_file(path)
        Learned(root).note("llama", GIB, GIB + 50 * MIB)
        after = engine.fitter.of_file(path)
        assert after.correction == 50 * MIB
        assert after.rows[0].cells[0].needed == before.rows[0].cells[0].needed + 50 * MIB
