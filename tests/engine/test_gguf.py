"""Headers of real and of hostile files."""

import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.demo import tiny
from rbee_tui.engine import gguf
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.fit import estimate, largest_context

DATA = tiny.build()


def parse(data: bytes) -> gguf.Header:
    return gguf.parse(lambda at, count: data[at : at + count], len(data))


class TestHeader:
    """What it tells."""

    def test_a_real_one(self):
        """Shape, context, words and the bytes of its tensors."""
        header = parse(DATA)
        assert (header.architecture, header.quantization, header.context_length) == ("llama", "F16", 4096)
        assert (header.n_layers, header.n_embd, header.n_head, header.n_head_kv) == (2, 256, 4, 2)
        assert header.chat_template
        assert 0 < header.tensor_bytes < len(DATA)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "not a GGUF"),
            (b"PK\x03\x04" + bytes(100), "not a GGUF"),
            (b"GGUF\x00\x00\x00\x03" + bytes(40), "big-endian"),
            (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
            (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "tensors"),
            (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "keys"),
            (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62), "characters"),
            (DATA[:200], "early"),
        ],
    )
    def test_a_bad_one_is_a_sentence(self, data: bytes, reason: str):
        """It says what is wrong."""
        with pytest.raises(MetadataError, match=reason):
            parse(data)

    @given(st.integers(0, 6000), st.binary(min_size=1, max_size=12))
    def test_only_sentences_come_out(self, at: int, noise: bytes):
        """Whatever is changed, and quickly."""
        data = DATA[:at] + noise + DATA[at + len(noise) :]
        began = time.monotonic()
        with suppress(MetadataError):
            parse(data)
        assert time.monotonic() - began < 1


class TestFit:
    """Memory from a header."""

    def test_the_cache_grows_with_the_context(self):
        """Two layers, two heads of 64 dimensions for keys and values each, two bytes."""
        small, large = estimate(parse(DATA), 1024), estimate(parse(DATA), 2048)
        assert small.kv == 2 * 1024 * 2 * (64 + 64) * 2
        assert large.kv == 2 * small.kv
        assert small.covered

    def test_the_largest_context_that_fits(self):
        """Halved until it does; None when even the least does not."""
        header = parse(DATA)
        room = estimate(header, 2048).total
        assert largest_context(header, room, 8192) == 2048
        assert largest_context(header, 1000, 8192) is None


def test_the_file_is_named(tmp_path: Path):
    """Whoever asked for a model by its id did not name the file."""
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"PK")
    with pytest.raises(MetadataError, match=r"^bad\.gguf: this is not a GGUF file") as caught:
        gguf.read(path)
    assert caught.value.hint
