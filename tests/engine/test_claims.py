"""Whether anybody has an id: quick, and never wrong where it says no."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rbee_tui.engine import entries
from rbee_tui.engine.catalog import METADATA, ModelCatalog
from rbee_tui.engine.claims import Claims
from rbee_tui.engine.paths import Root

OLD_NS = 1_700_000_000_000_000_000


def put(models: ModelCatalog, name: str | bytes, said: str | None, *, raw: str = "") -> Path:
    """A directory of any name, whose metadata says an id; without one it has none, or `raw`."""
    path = models.path / os.fsdecode(name)
    path.mkdir()
    artifact = {"id": said, "name": "x", "version": "x", "size_bytes": 0, "source_url": "x"}
    text = json.dumps({"artifact": {**artifact, "status": "Available"}}) if said is not None else raw
    if text:
        (path / METADATA).write_text(text)
    return path


@pytest.fixture
def models(root: Root) -> ModelCatalog:
    """A catalog of directories that other hands made."""
    models = ModelCatalog(root)
    put(models, "plain", "plain")
    put(models, "other-name", "Upper")
    put(models, "Upper", None)
    put(models, "%41bc", "Abc")
    put(models, "broken", None, raw="{")
    put(models, "twin", "plain")
    put(models, "twice", None, raw='{"artifact": {"id": "first", "id": "second"}}')
    put(models, "twin (2)", "twin")
    put(models, b"bytes-\xff", "plain")
    put(models, b"more-\xff", None)
    (models.path / "linked").symlink_to(models.path / "plain")
    (models.path / "loose.gguf").write_bytes(b"GGUF")
    return models


class TestClaims:
    def test_everything_that_a_scan_finds_is_claimed(self, models: ModelCatalog) -> None:
        """Whatever its name and its metadata are; so peek finds all that a list shows."""
        claims = Claims(str(models.path))
        found = [entry.id for entry in models.list()]
        assert len(found) == 12
        assert {"plain", "Upper", "Upper (2)", "Abc"} < set(found)
        assert [each for each in found if not claims.may_hold(each)] == []
        assert [each for each in found if models.peek(each) is None] == []

    def test_nobody_has_it(self, models: ModelCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then nothing is scanned, and metadata that stays is read once."""
        for path in models.path.glob("*/" + METADATA):
            os.utime(path, ns=(OLD_NS, OLD_NS))
        read: list[str] = []
        real = entries.raw_metadata
        monkeypatch.setattr(entries, "raw_metadata", lambda path: read.append(path) or real(path))
        monkeypatch.setattr(entries, "read_all", lambda *_: pytest.fail("it scans"))
        assert models.peek("absent") is None
        assert len(read) == 12
        del read[:]
        assert models.peek("absent-as-well") is None
        assert [Path(path).name for path in read if (Path(path) / METADATA).exists()] == []

    def test_other_hands_are_seen(self, models: ModelCatalog) -> None:
        """A directory that comes, and metadata that says another id from now on, even within one tick."""
        assert models.peek("late") is None
        path = put(models, "strange", "late")
        assert models.peek("late") is not None
        metadata = path / METADATA
        before = metadata.stat()
        metadata.write_text(metadata.read_text().replace('"late"', '"date"'))
        os.utime(metadata, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert models.peek("date") is not None
        assert models.peek("late") is None

    def test_many_may_ask_at_once(self, models: ModelCatalog) -> None:
        """What one looks at anew, another does not miss meanwhile."""
        for number in range(50):
            put(models, f"astray-{number}", f"other {number}")
        claims, metadata = Claims(str(models.path)), models.path / "astray-7" / METADATA
        ended = threading.Event()

        def touch() -> None:
            for tick in range(1 << 30):
                os.utime(metadata, ns=(OLD_NS + tick, OLD_NS + tick))
                if ended.is_set():
                    return

        with ThreadPoolExecutor(4) as pool:
            pool.submit(touch)
            asked = [pool.submit(lambda: [claims.may_hold("other 7") for _ in range(200)]) for _ in range(3)]
            found = [each.result() for each in asked]
            ended.set()
        assert all(all(each) for each in found)
