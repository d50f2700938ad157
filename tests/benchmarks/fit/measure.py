"""How right estimates are beside llama.cpp's own plan, and how fast a header is read.

Usage: `python measure.py [header] [estimates]`, both without a word. The header is that of an 8B model with a
vocabulary of 128k words and 280k merges, read in a fresh process: the best of nine, and the memory on top of
what the imports take.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
sys.path.insert(0, str(CHECKOUT))

from rbee_tui.engine import gguf  # noqa: E402 - the checkout comes first
from rbee_tui.engine.fit import estimate  # noqa: E402 - as above
from tests.engine.fitting.configurations import COVERED, UNCOVERED, Configuration  # noqa: E402 - as above
from tests.engine.fitting.judge import measure  # noqa: E402 - as above
from tests.engine.fitting.synthetic import Q4_K, Shape, write  # noqa: E402 - as above

_MIB = 1 << 20
_ROUNDS = 9
EIGHT = Shape(embd=4096, ff=14336, heads=32, kv_heads=8, layers=32, vocab=128256, merges=280_147, weight=Q4_K)
_READ = """
import re, sys, time
from pathlib import Path
from rbee_tui.engine import gguf
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
began = time.perf_counter()
header = gguf.read(Path(sys.argv[1]))
seconds = time.perf_counter() - began
assert header.n_vocab == 128256
print(seconds, peak() - before, before)
"""


def header(scratch: Path) -> tuple[float, int, int, int]:
    """Seconds, KiB on top, KiB before, and the header's bytes."""
    path = write(scratch / "eight.gguf", EIGHT)
    found = [_once(path) for _ in range(_ROUNDS)]
    return (*min(found), gguf.read(path).header_bytes)


def _once(path: Path) -> tuple[float, int, int]:
    words = [sys.executable, "-c", _READ, str(path)]
    said = subprocess.run(words, check=True, capture_output=True, text=True, cwd=CHECKOUT).stdout.split()
    return float(said[0]), int(said[1]), int(said[2])


def line(scratch: Path, each: Configuration) -> tuple[str, float]:
    """One configuration as a line, and its error in percent; 0 for an interval that holds the truth."""
    asked = {"parallel": each.parallel, "kv_type": each.kv_type, "unified": each.unified}
    found_header = gguf.read(write(scratch / "model.gguf", each.shape))
    found = estimate(found_header, each.context, **asked)
    truth = measure(scratch / "model.gguf", each.context, **asked)
    whole = found_header.tensor_bytes + truth.kv + truth.compute + found.output
    how = f"{each.family:9} {each.shape.arch:9} {each.context:6} x{each.parallel} {each.kv_type:4}"
    kept = " held out" if each.held_out else ""
    parts = f"KV {truth.kv / _MIB:9.2f}  compute {truth.compute / _MIB:7.2f}  all {whole / _MIB:9.1f} MiB"
    if found.covered:
        error = 100 * (found.total - whole) / whole
        return f"{how}  {parts}  error {error:+.3f} %{kept}", abs(error)
    assert found.high
    inside = found.low <= whole <= found.high
    bounds = f"{found.low / _MIB:.1f} to {found.high / _MIB:.1f}"
    return f"{how}  {parts}  estimate {bounds}: {'inside' if inside else 'OUTSIDE'}", 0.0 if inside else 100.0


def main(words: list[str]) -> None:
    """Print what was asked for."""
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        if not words or "header" in words:
            seconds, more, before, size = header(scratch)
            said = f"{seconds * 1000:.0f} ms, {more / 1024:.1f} MiB on top of {before / 1024:.1f} MiB"
            print(f"a header of {size / 1e6:.1f} MB: {said}")
        if not words or "estimates" in words:
            found = [line(scratch, each) for each in (*COVERED, *UNCOVERED)]
            print(*(text for text, _ in found), sep="\n")
            print(
                f"worst of {len(COVERED)} covered: {max(error for _, error in found[: len(COVERED)]):.3f} %"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
