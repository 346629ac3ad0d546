"""A request that cannot be read because of what stands inside of some spans: the same without those.

Protobuf gives up a whole message for one text that is no UTF-8. But every span has its length in front, so the
others can be told apart from it: whoever sent them all in one request need not lose them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from .otlp_schema import Resource, Scope, Span

_FIRST, _SECOND = 0x0A, 0x12
"""Tags of the messages in fields 1 and 2: a resource or scope, and the spans that it is of."""
_EMPTY = b"\x12\x00"
_SIZES = {1: 8, 5: 4}


def mended(body: bytes) -> tuple[bytes, list[str]]:
    """The request with an empty span in place of each one that cannot be read, and for every span why, "" if it can.

    Raises ValueError if what holds the spans together cannot be read either.
    """
    problems: list[str] = []
    parts = [
        _sized(_FIRST, _of_resource(content, problems)) if tag == _FIRST else whole
        for tag, whole, content in _fields(body)
    ]
    return b"".join(parts), problems


def _of_resource(data: bytes, problems: list[str]) -> bytes:
    """Who a resource pays for cannot be told without it: none of its spans can be read then."""
    fields = list(_fields(data))
    problem = next(
        (found for tag, _, said in fields if tag == _FIRST and (found := _problem(Resource, said))), ""
    )
    why = f"resource: {problem}" if problem else ""
    return b"".join(
        _sized(_SECOND, _of_scope(content, problems, why)) if tag == _SECOND else whole
        for tag, whole, content in fields
        if not (tag == _FIRST and problem)
    )


def _of_scope(data: bytes, problems: list[str], why: str) -> bytes:
    parts = []
    for tag, whole, content in _fields(data):
        if tag == _SECOND:
            problems.append(why or _problem(Span, content))
            parts.append(_EMPTY if problems[-1] else whole)
        elif tag != _FIRST or not _problem(Scope, content):
            parts.append(whole)
    return b"".join(parts)


def _problem(message: Any, data: bytes) -> str:
    try:
        message.FromString(data)
    except DecodeError:
        return "a field inside is cut off, or a text is not UTF-8"
    return ""


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, the whole field, its content if it has a length) of every field of an encoded message."""
    position = 0
    while position < len(data):
        start = position
        tag, position = _number(data, position)
        content = b""
        if tag & 7 == 2:
            size, position = _number(data, position)
            content = data[position : position + size]
            position += size
        elif tag & 7:
            position += _SIZES.get(tag & 7, len(data))
        else:
            _, position = _number(data, position)
        if position > len(data):
            raise ValueError("a field is cut off")
        yield tag, data[start:position], content


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A varint and where it ends."""
    found = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        found |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return found, position
    raise ValueError("a number is cut off")


def _sized(tag: int, content: bytes) -> bytes:
    size, left = bytearray([tag]), len(content)
    while left > 127:
        size.append(left & 127 | 128)
        left >>= 7
    size.append(left)
    return bytes(size) + content
