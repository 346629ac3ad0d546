"""JSON-RPC as it passes by: lines of stdio and events of SSE out of chunks split anywhere, and their messages.

Nothing here changes a byte, and nothing raises on what is no JSON: it yields no messages. Bytes are held only
while a line or an event is incomplete, and once. Pure.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import orjson

from aforo_mcp.skim import skim

Message = dict[str, Any]

# What stands in any message that begins or ends a call. JSON may write the slash and every letter as an escape.
# Some servers also read bodies in UTF-16 and UTF-32, where every letter has a zero byte.
_MARKS: Final = (b'tools/call"', b'/cancelled"', b"\\/", b"\\u00", b"\0")
_AMOUNTS: Final = (b"provider_cost", b"ProviderCost")
_LONGEST_NEWLINE: Final = 2

LARGE_BYTES: Final = 1 << 20
INFLATED_SIZE_BYTES_MAX: Final = 1 << 26
"""What one chunk may grow to: a small body that claims to be a huge one must not take all memory."""


def concerns_calls(raw: bytes | bytearray) -> bool:
    """Whether what a client sends may ask for a tool or cancel one; quick, and never wrong with a no."""
    return any(mark in raw for mark in _MARKS)


def messages(raw: bytes | bytearray) -> list[Message]:
    """The messages of a body, a line or an event: one, or a batch of them; none if it is no JSON-RPC.

    Numbers are read without loss where an amount of money may be among them. Of a large message only what is
    small and near the top is read.
    """
    if b"\0" in raw[:4]:
        raw = raw.decode(json.detect_encoding(raw), "replace").encode(errors="replace")
    load = _exact if any(mark in raw for mark in _AMOUNTS) else _quick
    try:
        found = load(raw) if len(raw) <= LARGE_BYTES else skim(raw, load)
    except ValueError:
        return []
    batch = found if isinstance(found, list) else [found]
    return [message for message in batch if isinstance(message, dict)]


def is_id(value: object) -> bool:
    """Whether this is the id of a request; without one it is a notification, which has no answer."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def inflater(encoding: str) -> Callable[[bytes | bytearray], bytes | bytearray]:
    """What takes the content encoding off a body, chunk by chunk, whatever it is split into.

    Knows gzip and deflate; raises ValueError for others, and what it returns does for bodies that are torn.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return lambda chunk: chunk
    if name not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"the content encoding {encoding!r} is not known here")
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def inflate(chunk: bytes | bytearray) -> bytes:
        try:
            return stream.decompress(chunk, INFLATED_SIZE_BYTES_MAX)
        except zlib.error as error:
            raise ValueError(f"this is no {encoding}: {error}") from error

    return inflate


class Lines:
    """The lines of a byte stream that are wanted.

    `wanted` is asked where a line begins: a line that nobody wants is never held, however long it is.
    """

    __slots__ = ("_held", "_inside", "_keeps", "_wanted")

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._held = bytearray()
        self._inside = False
        self._keeps = False

    def feed(self, chunk: bytes) -> Iterator[bytes | bytearray]:
        """The lines that end in this chunk, without their newline."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if not self._inside:
                if self._wanted():
                    yield chunk[start:end]
            elif self._keeps:
                self._held += memoryview(chunk)[start:end]
                line, self._held = self._held, bytearray()
                yield line
            self._inside = False
            start = end + 1
        if start < len(chunk):
            if not self._inside:
                self._inside, self._keeps = True, self._wanted()
            if self._keeps:
                self._held += memoryview(chunk)[start:]


class Events:
    """The data of the server-sent events of a byte stream (HTML standard, 9.2.6), newlines of any kind."""

    __slots__ = ("_after_return", "_data", "_held")

    def __init__(self) -> None:
        self._held = bytearray()
        self._data: list[bytearray] = []
        self._after_return = False

    def feed(self, chunk: bytes) -> Iterator[bytes | bytearray]:
        """The data of the events that end in this chunk."""
        start = 1 if self._after_return and chunk.startswith(b"\n") else 0  # half of a newline already seen
        if chunk:
            self._after_return = chunk.endswith(b"\r")
        while (end := _newline(chunk, start)) >= 0:
            self._held += memoryview(chunk)[start:end]
            line, self._held = self._held, bytearray()
            start = end + (_LONGEST_NEWLINE if chunk[end : end + 2] == b"\r\n" else 1)
            if line.startswith(b"data:"):
                del line[: 6 if line.startswith(b"data: ") else 5]  # in place: an event may be large
                self._data.append(line)
            elif not line and self._data:
                event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data = []
                yield event
        if start < len(chunk):
            self._held += memoryview(chunk)[start:]


def _newline(chunk: bytes, start: int) -> int:
    feed = chunk.find(b"\n", start)
    back = chunk.find(b"\r", start, feed if feed >= 0 else len(chunk))
    return back if back >= 0 else feed


def _quick(raw: bytes | bytearray) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _lenient(raw, float)


def _exact(raw: bytes | bytearray) -> object:
    return _lenient(raw, Decimal)


def _lenient(raw: bytes | bytearray, number: Callable[[str], object]) -> object:
    """What Python's own parser takes and others do not (NaN, lone surrogates) still reaches servers."""
    try:
        return json.loads(raw, parse_float=number)
    except (RecursionError, ArithmeticError) as error:
        raise ValueError(str(error)) from error
