"""`rbee run`: from a name to an answer, with everything that is missing on the way; and talking in turns."""

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rbee_tui.demo import repos, tiny
from rbee_tui.demo.hub import DemoHub
from rbee_tui.engine.paths import Root
from tests.cli.support import Command
from tests.engine.workers.support import House, add_fake, add_model, end_all

SAY = "A real worker says this."


@pytest.fixture
def house(root: Root, tmp_path: Path) -> Iterator[House]:
    """A root with the stand-in for a worker, and no model."""
    made = House(root)
    add_fake(made, tmp_path)
    yield made
    end_all(root)


@pytest.fixture
def here(house: House, tmp_path: Path) -> House:
    """The same with the tiny model."""
    add_model(house, tiny.write(tmp_path / "tiny.gguf", SAY).path)
    return house


@pytest.fixture(scope="module")
def hub() -> Iterator[DemoHub]:
    """The demo's Hub, as fast as it goes."""
    with DemoHub(repos.demo_repos(SAY)) as found:
        yield found


class Terminal:
    """A person at a terminal."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.seen = ""

    def until(self, words: str, seconds: float = 60.0) -> None:
        """Read until these words have come."""
        end = time.monotonic() + seconds
        while words not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.handle], [], [], 0.1)[0]:
                self.seen += os.read(self.handle, 65536).decode(errors="replace")
        self.seen = self.seen.partition(words)[2]

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self.handle, text.encode())


@contextmanager
def at_terminal(command: Command, *words: str) -> Iterator[tuple[Terminal, "subprocess.Popen[str]"]]:
    """A verb on a terminal of its own."""
    mine, its = pty.openpty()
    with command.start(*words, stdin=its, stdout=its, stderr=its, start_new_session=True) as started:
        os.close(its)
        try:
            yield Terminal(mine), started
            started.wait(60)
        finally:
            started.kill()
            os.close(mine)


class TestOnce:
    """One question."""

    def test_it_is_started_asked_and_kept(self, here: House):
        """Standard output has the answer alone; the worker stays unless it is to be stopped."""
        command = Command(here.root.path)
        assert command.run("run", "tiny", "hello") == "one two\n"
        assert [each.state for each in here.supervisor.list()] == ["ready"]
        told = json.loads(command.run("run", "ti", "--json", text="from a pipe\n"))
        assert (told["id"], told["text"], told["usage"]["tokens"]) == ("tiny", "one two", 7)

    def test_it_may_be_stopped_afterwards(self, here: House):
        """Where this command started it."""
        Command(here.root.path).run("run", "tiny", "hello", "--stop", "--context", "512")
        assert here.supervisor.list() == []

    def test_what_is_not_there(self, here: House):
        """Said, with what would bring it."""
        command = Command(here.root.path)
        assert "OWNER/NAME:FILE" in command.fails("run", "nobody", "hi", code=3, saying="no model 'nobody'")
        command.fails("run", "tiny", " ", code=2, saying="there is nothing to ask")

    def test_one_that_does_not_fit(self, here: House):
        """Refused before anything is started."""
        command = Command(here.root.path)
        command.fails("run", "tiny", "hi", "--context", "100000000", code=4, saying="tiny needs")


class TestFromTheHub:
    """A repository that is not here."""

    def test_it_is_asked_about_and_fetched(self, house: House, hub: DemoHub):
        """Without a terminal --yes answers; a second time nothing is fetched, also without a Hub."""
        command = Command(house.root.path, hub.url)
        said = command.fails(
            "run", "rbee-demo/recital-gguf:F16", "hi", code=2, saying="no terminal to ask on"
        )
        assert "fits CPU" in said
        assert command.run("run", "rbee-demo/recital-gguf:F16", "hi", "--yes").splitlines()[-1] == "one two"
        assert len(house.models.list()) == 1
        offline = Command(house.root.path)
        assert offline.run("run", "rbee-demo/recital-gguf", "hi").splitlines()[-1] == "one two"


class TestTalk:
    """In turns, on a terminal."""

    def test_turns_an_error_and_the_end(self, here: House):
        """Each answer has its figures; /new forgets; Ctrl-D leaves, and the worker stays."""
        with at_terminal(Command(here.root.path), "run", "tiny") as (person, started):
            person.until("Ctrl-D leaves")
            person.until("> ")
            person.type("hello\n")
            person.until("one two")
            person.until("tok/s, first after")
            person.until("> ")
            person.type("/new\n")
            person.until("has forgotten")
            person.until("> ")
            person.type("\x04")
            person.until("tiny keeps running")
        assert started.returncode == 0
        assert [each.state for each in here.supervisor.list()] == ["ready"]
