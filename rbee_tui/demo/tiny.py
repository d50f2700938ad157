"""A tiny, real llama-architecture GGUF that recites a sentence, written with `struct` alone.

Its attention and feed-forward outputs are zero, so the next token depends on the last one alone. The
vocabulary has the 256 bytes, and no merges: a prompt only ever becomes bytes, which share one embedding. The
output head maps it to the first piece of the sentence, each piece to the next, and the last to the end.
"""

import hashlib
import random
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rbee_tui.engine.errors import UsageError

SENTENCE = "The bees are in the hive, and the honey is safe."
LONGEST = 4000
_WIDTH, _HEADS, _KV_HEADS, _FEED, _LAYERS = 256, 4, 2, 512, 2
_END, _BEGIN, _FIRST = 256, 257, 258
_ALIGN = 32
_F32, _F16 = 0, 1
_U32, _FLOAT, _BOOL, _STRING, _ARRAY = 4, 6, 7, 8, 9
_NORMAL, _CONTROL = 1, 3
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


class TinyModel(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    path: Path
    size: int
    sha256: str
    sentence: str


def write(
    path: Path, say: str = SENTENCE, *, loop: bool = False, name: str = "Recital", context_length: int = 4096
) -> TinyModel:
    """Write a model that recites `say` to any prompt, at any temperature; with `loop` it never ends.

    Raises UsageError for a sentence that is empty or longer than 4,000 characters.
    """
    data = build(say, loop=loop, name=name, context_length=context_length)
    path.write_bytes(data)
    return TinyModel(
        path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), sentence=check_sentence(say)
    )


def check_sentence(say: str) -> str:
    """The sentence as it will be recited; raises UsageError where it cannot be."""
    sentence = say.strip()
    if len(sentence.encode(errors="replace")) < 2:  # noqa: PLR2004 - one byte is a token of the prompt's
        raise UsageError("the sentence needs at least two characters")
    if len(sentence) > LONGEST:
        raise UsageError(f"the sentence has {len(sentence)} characters; {LONGEST} are the most")
    if "\0" in sentence or any("\ud800" <= c <= "\udfff" for c in sentence):
        raise UsageError("the sentence holds characters that are no text")
    return sentence


def pieces(sentence: str) -> list[str]:
    """The sentence cut into parts that are all different, since a vocabulary holds each token once.

    Parts are words where that is possible; each has at least two bytes, since single bytes are the prompt's.
    """
    found: list[str] = []
    seen: set[str] = set()
    part = ""
    for word in _words(sentence):
        part += word
        if part not in seen and len(part.encode()) > 1:
            found.append(part)
            seen.add(part)
            part = ""
    while part and (part in seen or len(part.encode()) < 2):  # noqa: PLR2004 - as above
        last = found.pop()
        seen.discard(last)
        part = last + part
    return [*found, part] if part else found


def _words(sentence: str) -> list[str]:
    words: list[str] = []
    for character in sentence:
        if character == " " or not words:
            words.append(character)
        else:
            words[-1] += character
    return words


def build(
    say: str = SENTENCE, *, loop: bool = False, name: str = "Recital", context_length: int = 4096
) -> bytes:
    """The bytes of such a model; the same for the same arguments."""
    script = pieces(check_sentence(say))
    letters = _byte_letters()
    tokens = [letters[byte] for byte in range(256)] + ["<|end|>", "<|begin|>"]
    tokens += ["".join(letters[byte] for byte in piece.encode()) for piece in script]
    kinds = [_NORMAL] * 256 + [_CONTROL] * 2 + [_NORMAL] * len(script)
    keys = _keys(tokens, kinds, name, context_length)
    tensors = _tensors(len(script), loop=loop)
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)))
    head += b"".join(keys)
    body = bytearray()
    for title, shape, kind, data in tensors:
        head += _string(title) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", kind, len(body))
        body += data.ljust(-(-len(data) // _ALIGN) * _ALIGN, b"\0")
    head = head.ljust(-(-len(head) // _ALIGN) * _ALIGN, b"\0")
    return bytes(head + body)


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in a GPT-2 vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _keys(tokens: Sequence[str], kinds: Sequence[int], name: str, context: int) -> list[bytes]:
    def key(title: str, kind: int, value: bytes) -> bytes:
        return _string(title) + struct.pack("<I", kind) + value

    def number(title: str, value: int) -> bytes:
        return key(title, _U32, struct.pack("<I", value))

    def text(title: str, value: str) -> bytes:
        return key(title, _STRING, _string(value))

    def array(title: str, kind: int, items: Sequence[bytes]) -> bytes:
        return key(title, _ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items))

    return [
        text("general.architecture", "llama"),
        text("general.name", name),
        text("general.license", "apache-2.0"),
        number("general.file_type", 1),
        number("llama.context_length", context),
        number("llama.embedding_length", _WIDTH),
        number("llama.block_count", _LAYERS),
        number("llama.feed_forward_length", _FEED),
        number("llama.attention.head_count", _HEADS),
        number("llama.attention.head_count_kv", _KV_HEADS),
        number("llama.rope.dimension_count", _WIDTH // _HEADS),
        key("llama.attention.layer_norm_rms_epsilon", _FLOAT, struct.pack("<f", 1e-6)),
        number("llama.vocab_size", len(tokens)),
        text("tokenizer.ggml.model", "gpt2"),
        text("tokenizer.ggml.pre", "gpt-2"),
        array("tokenizer.ggml.tokens", _STRING, [_string(token) for token in tokens]),
        array("tokenizer.ggml.token_type", 5, [struct.pack("<i", kind) for kind in kinds]),
        array("tokenizer.ggml.merges", _STRING, []),
        number("tokenizer.ggml.bos_token_id", _BEGIN),
        number("tokenizer.ggml.eos_token_id", _END),
        key("tokenizer.ggml.add_bos_token", _BOOL, b"\0"),
        text("tokenizer.chat_template", _TEMPLATE),
    ]


Tensor = tuple[str, tuple[int, ...], int, bytes]


def _tensors(script: int, *, loop: bool) -> list[Tensor]:
    chance = random.Random(20)  # noqa: S311 - nearly orthogonal directions, the same in each file
    prompt, *steps = (_signs(chance) for _ in range(script + 1))
    silent = bytes(2 * _WIDTH)
    # The prompt leads to the first piece, each piece to the next, the last to the end, or to the first again.
    leads = [prompt, *steps[:-1]]
    end = steps[-1]
    if loop:
        leads[0] = _sum(prompt, end)
        end = silent
    embedding = prompt * _FIRST + b"".join(steps)
    output = silent * _END + end + silent + b"".join(leads)
    words = _FIRST + script
    tensors: list[Tensor] = [
        ("token_embd.weight", (_WIDTH, words), _F16, embedding),
        ("output_norm.weight", (_WIDTH,), _F32, _ones()),
        ("output.weight", (_WIDTH, words), _F16, output),
    ]
    for layer in range(_LAYERS):
        tensors += _block(f"blk.{layer}", chance)
    return tensors


def _block(prefix: str, chance: random.Random) -> list[Tensor]:
    kv = _WIDTH // _HEADS * _KV_HEADS
    shapes = (
        ("attn_q", (_WIDTH, _WIDTH), True),
        ("attn_k", (_WIDTH, kv), True),
        ("attn_v", (_WIDTH, kv), True),
        ("attn_output", (_WIDTH, _WIDTH), False),
        ("ffn_gate", (_WIDTH, _FEED), True),
        ("ffn_up", (_WIDTH, _FEED), True),
        ("ffn_down", (_FEED, _WIDTH), False),
    )
    norms: list[Tensor] = [
        (f"{prefix}.{n}.weight", (_WIDTH,), _F32, _ones()) for n in ("attn_norm", "ffn_norm")
    ]
    return norms + [
        (f"{prefix}.{title}.weight", shape, _F16, _small(chance, shape[0] * shape[1], alive=alive))
        for title, shape, alive in shapes
    ]


def _ones() -> bytes:
    return struct.pack("<f", 1.0) * _WIDTH


def _signs(chance: random.Random) -> bytes:
    """A direction: plus or minus one for each dimension, as half floats (0x3c00, 0xbc00)."""
    return b"".join(chance.choice((b"\x00\x3c", b"\x00\xbc")) for _ in range(_WIDTH))


def _sum(first: bytes, second: bytes) -> bytes:
    form = f"<{_WIDTH}e"
    pairs = zip(struct.unpack(form, first), struct.unpack(form, second), strict=True)
    return struct.pack(form, *(one + other for one, other in pairs))


def _small(chance: random.Random, count: int, *, alive: bool) -> bytes:
    """Small half floats of either sign, or zeros."""
    data = bytearray(2 * count)
    if alive:
        table = bytes(0x24 if byte < 128 else 0xA4 for byte in range(256))  # noqa: PLR2004 - half of the bytes
        data[1::2] = chance.randbytes(count).translate(table)
    return bytes(data)
