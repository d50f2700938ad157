"""What a model is started with: refusals with reasons and figures, never a guess."""

from pathlib import Path

import msgspec
import pytest

from rbee_tui.engine import gguf, hardware
from rbee_tui.engine.errors import NotFoundError, RefusedError
from rbee_tui.engine.gguf import Header
from rbee_tui.engine.hardware.reading import Reading
from rbee_tui.engine.workers import choosing
from tests.engine.workers.support import House


@pytest.fixture
def header(tiny_model: Path) -> Header:
    """The tiny model's."""
    return gguf.read(tiny_model)


@pytest.fixture
def reading() -> Reading:
    """This machine, with memory to spare and no GPU."""
    found = hardware.read()
    memory = msgspec.structs.replace(found.memory, total=64 << 30, available=32 << 30)
    return msgspec.structs.replace(found, memory=memory, gpus=())


class TestWorker:
    """The one that was asked for, else the one that fits best."""

    def test_none_is_installed(self, house: House, header, reading):
        """What brings one is said."""
        with pytest.raises(NotFoundError, match="no worker is installed") as caught:
            choosing.choose_worker(house.workers, None, reading, {})
        assert "rbee workers install" in caught.value.hint

    def test_the_only_one(self, fake: House, header, reading):
        """With the reason why."""
        choice = choosing.choose_worker(fake.workers, None, reading, {})
        assert (choice.worker.id, choice.binary.name) == ("fake", "llama-server")
        assert choice.reason
        asked = choosing.choose_worker(fake.workers, "fake", reading, {})
        assert asked.reason == "it was asked for"

    def test_none_that_fits(self, fake: House, header, reading):
        """The reason against each."""
        fake.workers.update("fake", platforms=["plan9-68k"])
        with pytest.raises(RefusedError, match="no installed worker fits this machine: fake: "):
            choosing.choose_worker(fake.workers, None, reading, {})

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"platforms": ["plan9-68k"]}, "it is for plan9-68k, and this machine is"),
            ({"cpu_features": ["avx1024"]}, "this CPU has no AVX1024, without which it would die"),
        ],
    )
    def test_one_that_was_copied_from_another_machine(
        self, fake: House, header, reading, changes: dict[str, list[str]], why: str
    ):
        """It is not started, though it was asked for, and what brings one that fits is said."""
        cpu = msgspec.structs.replace(reading.cpu, features=("avx2",))
        x86 = msgspec.structs.replace(reading, cpu=cpu, platform="linux-x86_64")
        fake.workers.update("fake", **({"platforms": ["linux-x86_64"]} | changes))
        with pytest.raises(RefusedError, match=f"fake cannot be started here: {why}") as caught:
            choosing.choose_worker(fake.workers, "fake", x86, {})
        assert "rbee workers install fake" in caught.value.hint

    def test_one_that_is_broken(self, fake: House, header, reading, tmp_path: Path):
        """It is not started, though it was asked for."""
        (tmp_path / "llama-server").unlink()
        with pytest.raises(RefusedError, match=r"^fake is .*: "):
            choosing.choose_worker(fake.workers, "fake", reading, {})


class TestContext:
    """As asked, or as much as fits."""

    def test_what_fits_up_to_a_sensible_one(self, header):
        """Never more than the model was trained for."""
        trained = header.context_length or choosing.DEFAULT_CONTEXT
        assert choosing.choose_context("tiny", header, None, 64 << 30).context == min(trained, 8192)
        assert choosing.choose_context("tiny", header, 512, 64 << 30).context == 512

    def test_one_that_does_not_fit(self, header):
        """With figures, and what to do."""
        with pytest.raises(
            RefusedError, match=r"tiny needs .* at a context of 512 .*are available"
        ) as caught:
            choosing.choose_context("tiny", header, 512, 1000)
        assert "smaller quantisation" in caught.value.hint
        assert caught.value.code == "does_not_fit"

    def test_what_would_fit_is_said(self, header):
        """Where the wish for context alone is too much."""
        room = choosing.choose_context("tiny", header, 2048, 1 << 40).total
        with pytest.raises(RefusedError) as caught:
            choosing.choose_context("tiny", header, 1 << 20, room)
        assert caught.value.details == {"retry_context": 2048}
        assert "--context 2048" in caught.value.hint
