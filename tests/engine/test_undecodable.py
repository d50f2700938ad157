"""Small files of the root that hold no text, no JSON, or JSON without an end: as if they were not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbee_tui.engine import settings, tokens
from rbee_tui.engine.durable import Lock
from rbee_tui.engine.facts import Facts
from rbee_tui.engine.paths import Root
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.settings import Settings
from rbee_tui.engine.workers.record import Records
from rbee_tui.hive import presence

SPOILT = [b'{"id": "\xff\xfe"}\n', b"\x00" * 64, b"", b"[" * 200_000, b'"\xed\xa0\x80"\n', b'{"id": 1}\n']


def holder(root: Root) -> Any:
    """Who signed a lock that somebody holds, whose file was spoilt."""
    return Lock(root.locks / "x.lock", "look").holder()


READERS: dict[str, tuple[str, Callable[[Root], Any], Any]] = {
    "settings": ("settings.json", settings.read, Settings()),
    "token": ("hub-token.json", lambda root: tokens.find(root, "http://hub"), None),
    "job": ("jobs/00000001.json", lambda root: JobStore(root).peek("00000001"), None),
    "jobs": ("jobs/00000001.json", lambda root: JobStore(root).list(), []),
    "runner's note": ("jobs/00000001.run", lambda root: JobStore(root).read_run("00000001"), None),
    "worker": ("running/tiny.json", lambda root: Records(root).read("tiny"), None),
    "workers": ("running/tiny.json", lambda root: list(Records(root).all()), []),
    "lock": ("locks/x.lock", holder, None),
    "hive": ("hive.json", presence.find, None),
}


@pytest.mark.parametrize("spoilt", SPOILT, ids=range(len(SPOILT)))
@pytest.mark.parametrize("name", READERS)
def test_it_is_as_if_it_were_not_there(root: Root, name: str, spoilt: bytes):
    """No reader of it fails."""
    place, read, expected = READERS[name]
    path: Path = root.state / place
    path.write_bytes(spoilt)
    with presence.hive_lock(root):
        assert read(root) == expected


@pytest.mark.parametrize("spoilt", SPOILT, ids=range(len(SPOILT)))
def test_a_line_among_facts(root: Root, spoilt: bytes):
    """Costs itself alone."""
    facts = Facts(root.facts)
    facts.tell("model.added", "one")
    with root.facts.open("ab") as file:
        file.write(spoilt.rstrip(b"\n") + b"\n")
    facts.tell("model.added", "two")
    assert [fact.id for fact in facts.read_new()] == ["one", "two"]
