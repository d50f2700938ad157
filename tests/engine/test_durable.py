"""What a killed writer leaves is cleared away by the next one."""

import os
import time
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

    def test_a_write_takes_old_ones_with_it(self, tmp_path: Path):
        """Where nobody knows who else writes a file, its age tells what is nobody's any more."""
        old, new, other = (tmp_path / f".{name}.tmp" for name in ("a.json.old", "a.json.new", "b.json.old"))
        for path in (old, new, other):
            path.touch()
        for path in (old, other):
            os.utime(path, times=(time.time() - 2 * 3600,) * 2)
        durable.write(tmp_path / "a.json", b"{}")
        assert set(tmp_path.iterdir()) == {tmp_path / "a.json", new, other}
