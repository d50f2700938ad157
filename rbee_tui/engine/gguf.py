"""A GGUF header, read without its arrays; hostile input ends in a MetadataError, never in memory or time.

The format: magic `GGUF`, version (u32), tensor count (u64), key count (u64), keys and values, tensor infos,
then, aligned, the tensors (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

import math
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rbee_tui.engine.choices import SHARD, quantization_of
from rbee_tui.engine.errors import MetadataError
from rbee_tui.engine.gguf_reader import KEPT_STRING, U32, U64, Reader
from rbee_tui.engine.gguf_types import FILE_TYPES, TENSOR_TYPES
from rbee_tui.engine.plain import as_list
from rbee_tui.engine.text import clean

MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_LAYERS = 8192
_MAX_KEY = 65_535
_MAX_DIMENSIONS = 8
_MAX_ELEMENTS = 1 << 62
_MAX_ALIGNMENT = 1 << 20
_KEPT_NAME = 64
_EMBEDDING = "token_embd.weight"
_SHOWN = 200
_MAX_SHARDS = 1024

_VERSIONS = (2, 3)
_SWAPPED = tuple(int.from_bytes(version.to_bytes(4, "big"), "little") for version in (1, *_VERSIONS))

_GUESSED = 1024
"""The bit that llama.cpp sets in a file type that it derived itself."""

_UNUSUAL = (
    "attention.chunk_size",
    "attention.indexer.head_count",
    "attention.shared_kv_layers",
    "decoder_block_count",
    "full_attention_interval",
    "shortconv.l_cache",
)
"""Keys of memory layouts that nothing here has a term for."""
_WANTED = {
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.key_length_mla",
    "attention.kv_lora_rank",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "ssm.conv_kernel",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "vocab_size",
    "wkv.head_size",
    *_UNUSUAL,
    # of "general" and "tokenizer"
    "alignment",
    "architecture",
    "chat_template",
    "file_type",
    "ggml.tokens",
    "license",
    "name",
}
"""What is kept of `<prefix>.<key>`; everything else is passed over."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's header says; 0 where it says nothing, lists by layer stand as their largest."""

    architecture: str | None
    name: str | None
    quantization: str | None
    context_length: int | None
    """Tokens that the model was trained for."""
    license: str | None
    chat_template: bool
    n_layers: int = 0
    n_embd: int = 0
    n_ff: int = 0
    n_head: int = 0
    n_head_kv: int = 0
    kv_heads: tuple[int, ...] = ()
    """KV heads layer by layer, where the header tells them so."""
    head_k: int = 0
    head_v: int = 0
    n_rot: int = 0
    n_vocab: int = 0
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_expert: int = 0
    n_ff_shared: int = 0
    """Width of the expert that is always at work."""
    sliding_window: int = 0
    """Tokens that windowed layers look back."""
    window_every: int = 0
    """Every so-many-th layer is not windowed; 0 where the header does not say it so."""
    window_layers: tuple[bool, ...] = ()
    """Whether each layer is windowed, where the header tells it layer by layer."""
    ssm_inner: int = 0
    kv_lora_rank: int = 0
    """Width of the latent that stands for keys and values (MLA)."""
    latent_only: bool = False
    """Whether that latent is all that is kept; older files spread it over every head."""
    state_floats: int = 0
    """Floats of recurrent state (SSM, RWKV), for each layer and sequence."""
    unusual: bool = False
    """Whether it keeps memory in a way that is none of the above."""
    header_bytes: int = 0
    """Where the tensors begin in the file."""
    tensors: int = 0
    tensor_bytes: int = 0
    embedding_bytes: int = 0
    """Of them, the input embedding's, which stays in main memory."""
    projector_bytes: int = 0
    """Of the file that is loaded beside the model, so that it sees or hears; no header tells of it."""

    @property
    def learnt_as(self) -> str:
        """Under which name is learnt what such models take: the architecture, with a projector or without."""
        return f"{self.architecture or ''}{' with a projector' if self.projector_bytes else ''}"


def read(path: Path) -> Header:
    """The header of a GGUF file; raises MetadataError that says what is wrong with it."""
    try:
        # A pipe of that name would hold back whoever opens it.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise MetadataError(f"{clean(str(path))} is not a file")
            header = _named(path, lambda offset, count: os.pread(handle, count, offset), found.st_size)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path cannot be used"
        raise MetadataError(f"cannot read {clean(str(path))}: {reason}") from error
    if header.quantization is None:
        return msgspec.structs.replace(header, quantization=quantization_of(path.name))
    return header


def shards(path: Path) -> list[Path]:
    """The files of a model of which `path` is one, in order; itself alone where its name is no shard's.

    Raises MetadataError for a name that speaks of more than there can be, or of none.
    """
    found = SHARD.search(path.name)
    if found is None:
        return [path]
    begin, count = path.name[: found.start(1)], int(found.group(2))
    if not 0 < count <= _MAX_SHARDS:
        raise MetadataError(f"{clean(path.name)} is one of {count} parts, more than any model has")
    end = path.name[found.end(1) :]
    return [path.with_name(f"{begin}{number:05d}{end}") for number in range(1, count + 1)]


def read_whole(path: Path) -> Header:
    """The header of a model's first file, with the tensors of all its shards; raises MetadataError."""
    first, *others = shards(path)
    header = read(first)
    if not others:
        return header
    rest = [read(each) for each in others]
    return msgspec.structs.replace(
        header,
        tensors=header.tensors + sum(each.tensors for each in rest),
        tensor_bytes=header.tensor_bytes + sum(each.tensor_bytes for each in rest),
        embedding_bytes=header.embedding_bytes + sum(each.embedding_bytes for each in rest),
    )


def _named(path: Path, read_at: Callable[[int, int], bytes], size: int) -> Header:
    """The header, with the file's name before what is wrong with it."""
    try:
        return parse(read_at, size)
    except MetadataError as error:
        raise MetadataError(
            f"{clean(path.name)}: {error}", hint="the workers here serve whole GGUF files of version 2 or 3"
        ) from None


def parse(read_at: Callable[[int, int], bytes], size: int) -> Header:
    """The header of a file of `size` bytes, of which `read_at(offset, count)` gives up to `count`.

    Raises MetadataError with one sentence.
    """
    reader = Reader(read_at, size)
    if size < 8 or reader.take(4) != b"GGUF":  # noqa: PLR2004 - magic and version
        raise MetadataError("this is not a GGUF file")
    version = reader.unpack(U32)
    if version in _SWAPPED:
        raise MetadataError("this GGUF file is big-endian: no runtime here reads it")
    if version not in _VERSIONS:
        raise MetadataError(f"GGUF version {version} is not known here (2 and 3 are)")
    tensors = reader.count(MAX_TENSORS, "tensors")
    values = _values(reader, reader.count(MAX_KEYS, "keys"))
    infos = [_tensor(reader) for _ in range(tensors)]
    alignment = _whole(values, "general.alignment") or 32
    if alignment & (alignment - 1) or alignment > _MAX_ALIGNMENT:
        raise MetadataError(f"the GGUF header has an alignment of {alignment}")
    start = -(-reader.at // alignment) * alignment
    embedding = sum(known or 0 for _, known, is_embedding in infos if is_embedding)
    return msgspec.structs.replace(
        _header(values),
        header_bytes=start,
        tensors=tensors,
        tensor_bytes=_tensor_bytes(infos, size - start),
        embedding_bytes=embedding,
    )


def _values(reader: Reader, count: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for _ in range(count):
        key = reader.string(_MAX_KEY, KEPT_STRING)
        wanted = key.partition(".")[2] in _WANTED
        value = reader.value(reader.unpack(U32), wanted=wanted)
        if wanted:
            values[key] = value
    return values


def _tensor(reader: Reader) -> tuple[int, int | None, bool]:
    """A tensor's offset, its bytes (None for a type that is not known here), whether it is the embedding."""
    name = reader.string(_MAX_KEY, _KEPT_NAME)
    dimensions = reader.unpack(U32)
    if dimensions > _MAX_DIMENSIONS:
        raise MetadataError(f"the GGUF header has a tensor of {dimensions} dimensions")
    elements = math.prod(reader.unpack(U64) for _ in range(dimensions))
    if elements > _MAX_ELEMENTS:
        raise MetadataError("the GGUF header has a tensor larger than any file")
    block = TENSOR_TYPES.get(reader.unpack(U32))
    length = -(-elements // block[0]) * block[1] if block else None
    return reader.unpack(U64), length, name == _EMBEDDING


def _tensor_bytes(infos: Sequence[tuple[int, int | None, bool]], room: int) -> int:
    """The sum of all tensors' bytes; raises MetadataError where they do not fit into the file.

    A tensor of an unknown type reaches to the next one, or to the end of the file.
    """
    starts = sorted(offset for offset, _, _ in infos)
    following = dict(zip(starts, [*starts[1:], room], strict=True))
    total = 0
    for offset, known, _ in infos:
        length = known if known is not None else following[offset] - offset
        if length < 0 or offset + length > room:
            raise MetadataError("the GGUF file ends before its tensors do: it is cut short, or damaged")
        total += length
    return total


def _whole(values: dict[str, Any], key: str) -> int:
    """A whole number above 0; the largest of a list; else 0."""
    found = values.get(key)
    each = as_list(found) or [found]
    return max((item for item in each if type(item) is int), default=0) if each else 0


def _text(values: dict[str, Any], key: str) -> str | None:
    found = values.get(key)
    return clean(found)[:_SHOWN] if isinstance(found, str) and found else None


def _header(values: dict[str, Any]) -> Header:
    architecture = _text(values, "general.architecture")

    def number(name: str) -> int:
        return max(0, _whole(values, f"{architecture}.{name}"))

    if number("block_count") > MAX_LAYERS:
        raise MetadataError(
            f"the GGUF header announces {number('block_count')} layers, more than any model has"
        )
    heads = number("attention.head_count")
    width = number("embedding_length") // heads if heads else 0
    words = values.get("tokenizer.ggml.tokens")
    pattern = values.get(f"{architecture}.attention.sliding_window_pattern")
    file_type = _whole({"": values.get("general.file_type", -1)}, "")
    return Header(
        architecture=architecture,
        name=_text(values, "general.name"),
        quantization=FILE_TYPES.get(file_type & ~_GUESSED),
        context_length=number("context_length") or None,
        license=_text(values, "general.license"),
        chat_template=bool(values.get("tokenizer.chat_template")),
        n_layers=number("block_count"),
        n_embd=number("embedding_length"),
        n_ff=number("feed_forward_length"),
        n_head=heads,
        n_head_kv=number("attention.head_count_kv") or heads,
        kv_heads=_by_layer(values.get(f"{architecture}.attention.head_count_kv")),
        head_k=number("attention.key_length") or width,
        head_v=number("attention.value_length") or width,
        n_rot=number("rope.dimension_count"),
        n_vocab=len(words) if isinstance(words, range) else number("vocab_size"),
        n_expert=number("expert_count"),
        n_expert_used=number("expert_used_count"),
        n_ff_expert=number("expert_feed_forward_length"),
        n_ff_shared=number("expert_shared_feed_forward_length"),
        sliding_window=number("attention.sliding_window"),
        window_every=0 if as_list(pattern) else number("attention.sliding_window_pattern"),
        window_layers=tuple(bool(each) for each in as_list(pattern)),
        ssm_inner=number("ssm.inner_size"),
        kv_lora_rank=number("attention.kv_lora_rank"),
        latent_only=number("attention.key_length_mla") > 0,
        state_floats=_state_floats(number),
        unusual=any(number(name) for name in _UNUSUAL)
        or values.get(f"{architecture}.attention.causal") is False,
    )


def _by_layer(found: Any) -> tuple[int, ...]:
    return tuple(max(0, item) for item in as_list(found) if type(item) is int)


def _state_floats(number: Callable[[str], int]) -> int:
    """What a recurrent layer remembers of a sequence, as llama.cpp counts it: Mamba's, or RWKV's."""
    inner, state = number("ssm.inner_size"), number("ssm.state_size")
    convolved = max(0, number("ssm.conv_kernel") - 1) * (inner + 2 * number("ssm.group_count") * state)
    width = number("embedding_length")
    return (
        convolved
        + inner * state
        + (number("wkv.head_size") * width + 2 * width if number("wkv.head_size") else 0)
    )
