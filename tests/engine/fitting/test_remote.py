"""A header at the Hub: read by Range, a few megabytes at most, counted at the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbee_tui.demo.hub import DemoHub, DemoRepo, Fault, Seen
from rbee_tui.engine import gguf
from rbee_tui.engine.engine import Engine
from rbee_tui.engine.errors import AccessError, MetadataError, NetworkError, RefusedError, UsageError
from rbee_tui.engine.fitting import remote
from rbee_tui.engine.fitting.fitter import Fitter
from rbee_tui.engine.hub import Hub
from rbee_tui.engine.paths import Root
from tests.engine.fitting.synthetic import Q8_0, Shape, write

REPO = "owner/model-gguf"
SHAPE = {"embd": 128, "ff": 256, "heads": 4, "kv_heads": 2, "layers": 2, "vocab": 128256}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two quantisations with a vocabulary of 128k words, one of them in shards."""
    place = tmp_path_factory.mktemp("files")
    return {
        "m-F16.gguf": write(place / "a.gguf", Shape(**SHAPE)).read_bytes(),
        "m-Q8_0.gguf": write(place / "b.gguf", Shape(weight=Q8_0, **SHAPE)).read_bytes(),
        "README.md": b"text",
    }


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[DemoHub]:
    """A Hub with them, and with what is no model."""
    repos = [
        DemoRepo(REPO, files),
        DemoRepo("owner/broken-gguf", {"m-Q4_0.gguf": b"GGUF" + b"\xff" * (1 << 20)}),
        DemoRepo("owner/gated-gguf", {"m-F16.gguf": files["m-F16.gguf"]}, gated=True),
        DemoRepo("owner/plain", {"model.safetensors": b"x" * 100}),
    ]
    with DemoHub(repos) as found:
        yield found


@pytest.fixture
def fitter(root: Root, hub: DemoHub) -> Fitter:
    """What asks it."""
    return Engine(root, Hub(hub.url, token="")).fitter


class TestReading:
    """One header for a whole repository."""

    def test_a_repository(self, fitter: Fitter, hub: DemoHub, files: dict[str, bytes]):
        """At most 12 MB and three requests of the smallest choice, and nothing of the others."""
        found = fitter.of_repository(REPO)
        assert [row.quantization for row in found.rows] == ["Q8_0", "F16"]
        assert found.covered
        sent = hub.bytes_sent(f"{REPO}/m-Q8_0.gguf")
        assert 2_000_000 < sent <= 12_000_000
        assert sent < len(files["m-Q8_0.gguf"])
        assert hub.bytes_sent(f"{REPO}/m-F16.gguf") == 0
        asked = [
            each for each in hub.requests if each.method == "GET" and "m-Q8_0" in each.path and each.range
        ]
        assert len(asked) <= 2 * 3

    def test_who_reads_on_is_caught(self, fitter: Fitter, hub: DemoHub, monkeypatch):
        """The mutant that the count at the server catches: one request for all there is."""
        monkeypatch.setattr(remote, "_PIECE", 1 << 30)
        monkeypatch.setattr(remote, "MOST", 1 << 30)
        fitter.of_repository(REPO)
        assert hub.bytes_sent(f"{REPO}/m-Q8_0.gguf") > 12_000_000

    def test_a_second_question_reads_nothing(self, fitter: Fitter, hub: DemoHub):
        """The header is known."""
        fitter.of_repository(REPO)
        before = hub.bytes_sent(f"{REPO}/m-Q8_0.gguf")
        fitter.of_repository(REPO)
        assert hub.bytes_sent(f"{REPO}/m-Q8_0.gguf") == before

    def test_it_says_what_the_file_says(self, fitter: Fitter, files: dict[str, bytes], tmp_path: Path):
        """To the byte; another quantisation's weights are told by its size, within its header's padding."""
        path = tmp_path / "m-F16.gguf"
        path.write_bytes(files["m-F16.gguf"])
        here = fitter.of_file(path).rows[0].cells[0]
        there = fitter.of_repository(REPO, "F16").rows[0].cells[0]
        other = fitter.of_repository(REPO).rows[1].cells[0]
        assert (there.weights, there.kv, there.compute) == (here.weights, here.kv, here.compute)
        assert abs(other.weights - here.weights) < 1000

    def test_more_than_12_mb_is_not_read(self, fitter: Fitter, hub: DemoHub, monkeypatch):
        """Whatever the header announces."""
        monkeypatch.setattr(remote, "MOST", 1_000_000)
        with pytest.raises(RefusedError, match="larger than 1 MB"):
            fitter.of_repository(REPO)
        assert hub.bytes_sent(f"{REPO}/m-Q8_0.gguf") <= 1_000_000

    def test_a_server_that_breaks_off_is_asked_again(self, fitter: Fitter, hub: DemoHub):
        """Once."""
        faults: list[Seen] = []

        def fault(seen: Seen) -> Fault | None:
            faults.append(seen)
            return Fault(cut=1000) if len(faults) == 1 else None

        hub.fault = fault
        assert fitter.of_repository(REPO).rows
        hub.fault = lambda _: Fault(status=503)
        with pytest.raises(NetworkError):
            fitter.of_repository(REPO, "F16")


class TestRefusals:
    """Each with a sentence."""

    def test_no_gguf(self, fitter: Fitter):
        """A file that only says so, and a repository without any."""
        with pytest.raises(MetadataError):
            fitter.of_repository("owner/broken-gguf")
        with pytest.raises(UsageError, match="no GGUF file"):
            fitter.of_repository("owner/plain")

    def test_a_gated_one(self, fitter: Fitter):
        """What to do stands in the hint."""
        with pytest.raises(AccessError, match="gated"):
            fitter.of_repository("owner/gated-gguf")


class TestShards:
    """A model in several files."""

    def test_all_of_them_are_counted(self, tmp_path: Path):
        """The sum of their tensors, with the first one's words."""
        one = write(tmp_path / "m-00001-of-00002.gguf", Shape(layers=2))
        write(tmp_path / "m-00002-of-00002.gguf", Shape(layers=3))
        whole = gguf.read_whole(one)
        assert whole.n_layers == 2
        assert whole.tensor_bytes == gguf.read(one).tensor_bytes + gguf.read(gguf.shards(one)[1]).tensor_bytes

    def test_one_that_is_missing_is_said(self, tmp_path: Path):
        """With its name."""
        one = write(tmp_path / "m-00001-of-00002.gguf", Shape())
        with pytest.raises(MetadataError, match="00002-of-00002"):
            gguf.read_whole(one)

    def test_absurd_counts(self, tmp_path: Path):
        """Are no reason to look for 99,999 files."""
        one = write(tmp_path / "m-00001-of-99999.gguf", Shape())
        with pytest.raises(MetadataError, match="more than any model has"):
            gguf.read_whole(one)
