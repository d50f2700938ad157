"""A cursor over a GGUF header, a window at a time; it skips arrays. Hostile input ends in MetadataError."""

import struct
from collections.abc import Callable
from typing import Any

from rbee_tui.engine.errors import MetadataError

MAX_HEADER = 128 << 20
"""Bytes; the largest vocabularies of today take 20 MB."""
_MAX_WORDS = 4_000_000
"""Strings in arrays, all together: each is a step of a loop."""
_MAX_INNER_ARRAYS = 4096
_MAX_DEPTH = 4
_WINDOW = 1 << 20
KEPT_STRING = 1024
_KEPT_ITEMS = 1024
"""A number for each layer; longer arrays of numbers are a tokenizer's."""
_KEPT_ITEMS_TOGETHER = 16_384

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_STRUCTS = {kind: struct.Struct("<" + code) for kind, code in _SCALARS.items()}
U32, U64 = _STRUCTS[4], _STRUCTS[10]


class Reader:
    """A cursor over `read_at`, a window at a time."""

    def __init__(self, read_at: Callable[[int, int], bytes], size: int) -> None:
        self._read_at = read_at
        self._end = min(size, MAX_HEADER)
        self.at = 0
        self._window = b""
        self._start = 0
        self._words_left = _MAX_WORDS
        self._arrays_left = _MAX_INNER_ARRAYS
        self._items_left = _KEPT_ITEMS_TOGETHER

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        begin = self._locate(count)
        self.at += count
        return self._window[begin : begin + count]

    def skip(self, count: int) -> None:
        """Go past `count` bytes."""
        self.at += count
        if self.at > self._end:
            raise MetadataError("the GGUF header announces more than the file holds")

    def unpack(self, form: struct.Struct) -> Any:
        """The next scalar."""
        return form.unpack(self.take(form.size))[0]

    def count(self, most: int, what: str) -> int:
        """The next u64, at most `most`."""
        found = self.unpack(U64)
        if found > most:
            raise MetadataError(f"the GGUF header announces {found} {what}, more than any model has")
        return found

    def string(self, most: int, kept: int) -> str:
        """The next string; of a long one only its beginning."""
        length = self.count(most, "characters in a string")
        text = self.take(min(length, kept)).decode("utf-8", errors="replace")
        self.skip(length - min(length, kept))
        return text

    def value(self, kind: int, *, wanted: bool) -> Any:
        """The next value; None for one that nobody wants, a `range` of its length for an array."""
        if kind == _STRING:
            return self.string(self._end, KEPT_STRING if wanted else 0)
        if kind == _ARRAY:
            return self._array(1, wanted=wanted)
        form = _STRUCTS.get(kind)
        if form is None:
            raise MetadataError(f"the GGUF header has a value of an unknown type ({kind})")
        return self.unpack(form)

    def _array(self, depth: int, *, wanted: bool) -> Any:
        inner = self.unpack(U32)
        count = self.count(self._end, "items in an array")
        form = _STRUCTS.get(inner)
        if form is not None:
            if wanted and count <= min(_KEPT_ITEMS, self._items_left):
                self._items_left -= count
                return [self.unpack(form) for _ in range(count)]
            self.skip(form.size * count)
        elif inner == _STRING:
            self._skip_words(count)
        elif inner == _ARRAY:
            self._skip_arrays(count, depth)
        else:
            raise MetadataError(f"the GGUF header has an array of an unknown type ({inner})")
        return range(count)

    def _skip_arrays(self, count: int, depth: int) -> None:
        self._arrays_left -= count
        if depth == _MAX_DEPTH or self._arrays_left < 0:
            raise MetadataError("the GGUF header has arrays in arrays, more than any model has")
        for _ in range(count):
            self._array(depth + 1, wanted=False)

    def _skip_words(self, count: int) -> None:
        """Go past strings by their lengths alone: the inner loop of a vocabulary, and so without calls."""
        self._words_left -= count
        if self._words_left < 0:
            raise MetadataError("the GGUF header has more words than any model has")
        unpack = U64.unpack_from
        window, at, last = b"", 0, -1
        for _ in range(count):
            if at > last:
                self.at += at
                at = self._locate(8)
                window = self._window
                self.at = self._start
                last = len(window) - 8
            at += 8 + unpack(window, at)[0]
        self.skip(at)

    def _locate(self, count: int) -> int:
        """Where the next `count` bytes begin in the window, which is moved when it does not hold them."""
        begin = self.at - self._start
        if begin + count > len(self._window):
            if self.at + count > self._end:
                raise MetadataError("the GGUF header ends early, or announces more than the file holds")
            self._window = self._read_at(self.at, min(max(count, _WINDOW), self._end - self.at))
            self._start, begin = self.at, 0
            if len(self._window) < count:
                raise MetadataError("the GGUF header ends early")
        return begin
