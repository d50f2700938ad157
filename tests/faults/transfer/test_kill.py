"""kill -9 at random times: the next fetch goes on, and the server sends hardly a byte twice."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine.transfer import Fetched, Limits
from tests.engine.transfer.server import Hub, Place, content, wait_until

GRID = 8 << 20
SIZE = 40 << 20
RATE = 40 << 20
ROUNDS = 8
LIMITS = Limits(checkpoint_seconds=0.2)

CHILD = """
import sys, threading
from pathlib import Path
import msgspec
from rbee_tui.engine.transfer import Limits, Progress, Source, fetch
source = msgspec.json.decode(sys.argv[1], type=Source)
limits = msgspec.json.decode(sys.argv[2], type=Limits)
part, target, lock = map(Path, sys.argv[3:])
print("started", flush=True)
found = fetch(source, part=part, target=target, token=None, stop=threading.Event(), progress=Progress(),
    lock=lock, limits=limits)
print(msgspec.json.encode(found).decode(), flush=True)
"""


def start(hub: Hub, place: Place) -> subprocess.Popen[str]:
    """A process of its own that fetches the file."""
    arguments = [msgspec.json.encode(hub.source()).decode(), msgspec.json.encode(LIMITS).decode()]
    paths = [str(place.part), str(place.target), str(place.directory / "tmp" / "lock")]
    here = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments, *paths], stdout=subprocess.PIPE, text=True, cwd=here
    )
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    return process


def finish(process: subprocess.Popen[str]) -> Fetched:
    """What the process fetched."""
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return msgspec.json.decode(out, type=Fetched)


class TestKilled:
    """The process dies at a moment that nobody chose."""

    def test_goes_on_after_every_kill(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        """However often it is killed, the file comes out right and at most 8 MiB a kill come twice."""
        rounds = request.config.getoption("--rounds", default=None) or ROUNDS
        for turn in range(max(1, rounds // ROUNDS)):
            self.one_file(Place(tmp_path / str(turn)).prepare(), random.Random(), min(rounds, ROUNDS))

    def one_file(self, place: Place, dice: random.Random, kills: int) -> None:
        with Hub(content(dice.randrange(1 << 30), SIZE), rate=RATE) as hub:
            reached, longest = 0, dice.randrange(kills)
            for kill in range(kills):
                process = start(hub, place)
                # One of them comes late enough for a piece of each connection to be written down.
                reached += SIZE // 4 if kill == longest else dice.randrange(SIZE * 3 // 4 // (kills + 2))
                wait_until(lambda: hub.sent > reached or process.poll() is not None, 30)  # noqa: B023 - waited for here
                process.send_signal(signal.SIGKILL)
                process.communicate()
                assert not place.target.exists()
                reached = max(reached, hub.sent)
            found = finish(start(hub, place))
            assert place.target.read_bytes() == hub.data
            assert hub.sent <= SIZE + kills * (8 << 20)
            assert found.kept_bytes > 0
            assert found.kept_bytes + found.fetched_bytes == SIZE

    def test_without_the_journal_everything_comes_again(self, tmp_path: Path) -> None:
        """The mutant: where the journal is lost, the count of the bytes shows it."""
        place = Place(tmp_path / "root").prepare()
        with Hub(content(1, SIZE), rate=RATE) as hub:
            process = start(hub, place)
            wait_until(lambda: hub.sent > 20 << 20)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            place.journal.unlink()
            assert finish(start(hub, place)).kept_bytes == 0
            assert hub.sent > SIZE + (8 << 20)
