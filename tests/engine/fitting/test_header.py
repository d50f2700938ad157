"""A large header: quick, small, and safe whatever is done to it."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbee_tui.engine import gguf
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.fit import estimate
from tests.engine.fitting.synthetic import Q4_K, Shape, write

CHECKOUT = Path(__file__).parents[3]
_READ = """
import re, sys, time
from pathlib import Path
from rbee_tui.engine import gguf
seconds = []
for _ in range(3):
    began = time.process_time()
    header = gguf.read(Path(sys.argv[1]))
    seconds.append(time.process_time() - began)
assert header.n_vocab == 128256
print(min(seconds), re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A windowed model with a short vocabulary."""
    shape = Shape(arch="gemma3", vocab=300, embd=64, ff=128, heads=4, kv_heads=2, window=512, tied=True)
    return write(tmp_path_factory.mktemp("small") / "small.gguf", shape).read_bytes()


class TestLarge:
    """128k words, 280k merges, 32 layers."""

    def test_it_is_quick_and_small(self, tmp_path: Path):
        """Below 0.2 s of processor time, and 50 MB with the interpreter and its imports."""
        shape = Shape(
            embd=4096, ff=14336, heads=32, kv_heads=8, layers=32, vocab=128256, merges=280_147, weight=Q4_K
        )
        path = write(tmp_path / "eight.gguf", shape)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        words = [sys.executable, "-c", _READ, str(path)]
        said = subprocess.run(
            words, check=True, capture_output=True, text=True, cwd=CHECKOUT, env=environment
        ).stdout.split()
        assert float(said[0]) < 0.2
        assert int(said[1]) < 50_000


class TestHostile:
    """Only sentences come out, and what comes out can be estimated."""

    @settings(max_examples=150)
    @given(st.data())
    def test_changed_bytes(self, small: bytes, data: st.DataObject):
        """Anywhere in the header, also in the last of it, where the tensors are told."""
        at = data.draw(st.integers(0, len(small) // 4))
        noise = data.draw(st.binary(min_size=1, max_size=9))
        changed = small[:at] + noise + small[at + len(noise) :]
        with suppress(MetadataError):
            header = gguf.parse(lambda offset, count: changed[offset : offset + count], len(changed))
            found = estimate(header, 4096)
            assert 0 <= found.low <= found.total

    def test_as_many_layers_as_a_number_holds(self, tmp_path: Path):
        """Are refused before anybody counts them one by one."""
        path = write(tmp_path / "deep.gguf", Shape(extra={"block_count": 4_000_000_000}))
        with pytest.raises(MetadataError, match="4000000000 layers"):
            gguf.read(path)

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_cut_short(self, small: bytes, share: float):
        """Is said, wherever it ends."""
        cut = small[: int(len(small) * share)]
        with pytest.raises(MetadataError):
            gguf.parse(lambda offset, count: cut[offset : offset + count], len(cut))
