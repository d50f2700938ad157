"""What a killed writer leaves is cleared away by the next one."""

from pathlib import Path

from rbee_tui.engine import durable


class TestSweep:
    def test_only_what_is_left_of_this_file_goes(self, tmp_path: Path):
        """Another file's write may be under way."""
        left = tmp_path / ".a[1].json.0123456789ab.tmp"
        stays = {tmp_path / "a[1].json", tmp_path / ".b.json.0123456789ab.tmp", tmp_path / ".a1.json.x.tmp"}
        for path in (left, *stays):
            path.touch()
        durable.sweep(tmp_path / "a[1].json")
        assert set(tmp_path.iterdir()) == stays
