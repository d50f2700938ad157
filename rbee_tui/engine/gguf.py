"""A GGUF header, read without its arrays; hostile input ends in a MetadataError, never in memory or time.

The format: magic `GGUF`, version (u32), tensor count (u64), key count (u64), keys and values, tensor infos,
then, aligned, the tensors (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.plain import as_list
from rbee_tui.engine.text import clean

MAGIC = b"GGUF"
MAX_KEYS = 65_536
MAX_TENSORS = 65_536
MAX_STRING = 16 << 20
MAX_KEY = 65_535
MAX_ARRAY = 1 << 27
MAX_HEADER = 512 << 20
_WINDOW = 1 << 20
_MAX_DIMENSIONS = 8
_KEEP_STRING = 4096

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_SIZES = {kind: struct.calcsize("<" + code) for kind, code in _SCALARS.items()}

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""llama.cpp's `llama_ftype`, as people write it."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's header says; counts are 0 where it says nothing."""

    architecture: str | None
    name: str | None
    quantization: str | None
    context_length: int | None
    license: str | None
    chat_template: bool
    n_layers: int = 0
    n_embd: int = 0
    n_ff: int = 0
    n_head: int = 0
    n_head_kv: int = 0
    head_k: int = 0
    head_v: int = 0
    n_vocab: int = 0
    n_expert: int = 0
    sliding_window: int = 0
    latent_attention: bool = False
    recurrent: bool = False
    tensors: int = 0
    tensor_bytes: int = 0
    """Bytes from the first tensor to the end of the file."""


class _Reader:
    """A cursor over `read_at`, a window at a time."""

    def __init__(self, read_at: Callable[[int, int], bytes], size: int) -> None:
        self._read_at = read_at
        self.size = size
        self.at = 0
        self._window = b""
        self._start = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._require(count)
        begin = self.at - self._start
        if begin < 0 or begin + count > len(self._window):
            self._start, begin = self.at, 0
            self._window = self._read_at(self.at, min(max(count, _WINDOW), self.size - self.at))
            if len(self._window) < count:
                raise MetadataError("the GGUF header ends early")
        self.at += count
        return self._window[begin : begin + count]

    def skip(self, count: int) -> None:
        """Go past `count` bytes."""
        self._require(count)
        self.at += count

    def _require(self, count: int) -> None:
        if self.at + count > min(self.size, MAX_HEADER):
            raise MetadataError("the GGUF header ends early, or announces more than the file holds")

    def number(self, kind: int) -> Any:
        """The next scalar of a GGUF type."""
        return struct.unpack("<" + _SCALARS[kind], self.take(_SIZES[kind]))[0]

    def length(self, most: int, what: str) -> int:
        """The next u64, at most `most`."""
        found = self.number(10)
        if found > most:
            raise MetadataError(f"the GGUF header announces {found} {what}: more than any model has")
        return found

    def string(self, most: int) -> str:
        """The next string; only its beginning when it is long."""
        count = self.length(most, "characters")
        kept = self.take(min(count, _KEEP_STRING))
        self.skip(count - len(kept))
        return kept.decode("utf-8", errors="replace")


def read(path: Path) -> Header:
    """The header of a GGUF file; raises MetadataError that says what is wrong with it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MetadataError(f"cannot read {clean(str(path))}: {error.strerror}") from error
    try:
        size = os.fstat(handle).st_size
        return parse(lambda offset, count: os.pread(handle, count, offset), size)
    except OSError as error:
        raise MetadataError(f"cannot read {clean(str(path))}: {error.strerror}") from error
    finally:
        os.close(handle)


def parse(read_at: Callable[[int, int], bytes], size: int) -> Header:
    """The header of a file of `size` bytes; `read_at(offset, count)` gives up to `count` bytes."""
    reader = _Reader(read_at, size)
    if size < len(MAGIC) or reader.take(4) != MAGIC:
        raise MetadataError("this is not a GGUF file")
    version = reader.number(4)
    if version & 0xFFFF == 0 and version:
        raise MetadataError("this GGUF file is big-endian: no runtime here reads it")
    if version not in (2, 3):
        raise MetadataError(f"GGUF version {version} is not known here (2 and 3 are)")
    tensors = reader.length(MAX_TENSORS, "tensors")
    keys = reader.length(MAX_KEYS, "keys")
    values: dict[str, Any] = {}
    for _ in range(keys):
        key = reader.string(MAX_KEY)
        values[key] = _value(reader, reader.number(4), 0)
    for _ in range(tensors):
        _skip_tensor(reader)
    alignment = _whole(values, "general.alignment") or 32
    start = -(-reader.at // alignment) * alignment
    return _header(values, tensors, max(0, size - start))


def _value(reader: _Reader, kind: int, depth: int) -> Any:
    """A value; of an array only its length, as `range`."""
    if kind in _SCALARS:
        return reader.number(kind)
    if kind == _STRING:
        return reader.string(MAX_STRING)
    if kind != _ARRAY or depth:
        raise MetadataError(f"the GGUF header has a value of an unknown type ({kind})")
    inner = reader.number(4)
    count = reader.length(MAX_ARRAY, "array items")
    if inner in _SIZES:
        if count and inner in (4, 5) and count <= MAX_KEY:
            return [reader.number(inner) for _ in range(count)]
        reader.skip(_SIZES[inner] * count)
    elif inner == _STRING:
        _skip_strings(reader, count)
    else:
        raise MetadataError("the GGUF header has an array of arrays")
    return range(count)


def _skip_strings(reader: _Reader, count: int) -> None:
    """Go past strings, looking at lengths alone; the inner loop of a vocabulary of 128,000 words."""
    unpack = struct.Struct("<Q").unpack
    for _ in range(count):
        (length,) = unpack(reader.take(8))
        if length > MAX_STRING:
            raise MetadataError("the GGUF header announces a word longer than any model has")
        reader.skip(length)


def _skip_tensor(reader: _Reader) -> None:
    reader.skip(reader.length(MAX_KEY, "characters"))
    dimensions = reader.number(4)
    if dimensions > _MAX_DIMENSIONS:
        raise MetadataError(f"the GGUF header has a tensor of {dimensions} dimensions")
    reader.skip(8 * dimensions + 4)
    if reader.number(10) > reader.size:
        raise MetadataError("the GGUF header places a tensor behind the file's end")


def _whole(values: dict[str, Any], key: str) -> int:
    found = values.get(key)
    if isinstance(found, list):
        found = max((item for item in as_list(found) if isinstance(item, int)), default=0)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def _text(values: dict[str, Any], key: str) -> str | None:
    found = values.get(key)
    return clean(found)[:200] if isinstance(found, str) and found else None


def _header(values: dict[str, Any], tensors: int, tensor_bytes: int) -> Header:
    architecture = _text(values, "general.architecture")

    def number(name: str) -> int:
        return _whole(values, f"{architecture}.{name}")

    heads = number("attention.head_count")
    width = number("embedding_length") // heads if heads else 0
    words: Any = values.get("tokenizer.ggml.tokens")
    return Header(
        architecture=architecture,
        name=_text(values, "general.name"),
        quantization=_FILE_TYPES.get(_file_type(values)),
        context_length=number("context_length") or None,
        license=_text(values, "general.license"),
        chat_template=bool(values.get("tokenizer.chat_template")),
        n_layers=number("block_count"),
        n_embd=number("embedding_length"),
        n_ff=number("feed_forward_length"),
        n_head=heads,
        n_head_kv=number("attention.head_count_kv") or heads,
        head_k=number("attention.key_length") or width,
        head_v=number("attention.value_length") or width,
        n_vocab=len(words) if isinstance(words, range) else number("vocab_size"),
        n_expert=number("expert_count"),
        sliding_window=number("attention.sliding_window"),
        latent_attention=bool(number("attention.kv_lora_rank")),
        recurrent=bool(number("ssm.state_size") or number("wkv.head_size")),
        tensors=tensors,
        tensor_bytes=tensor_bytes,
    )


def _file_type(values: dict[str, Any]) -> int:
    found = values.get("general.file_type")
    return found if isinstance(found, int) else -1
