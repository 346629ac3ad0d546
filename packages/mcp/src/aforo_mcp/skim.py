"""Large JSON-RPC messages, read without a copy: what is small and near the top is taken, the rest is skipped.

A parser makes objects of all it reads, and a result may be an image of many megabytes. What the books need of
it stands in the outer three levels. Pure.
"""

import re
from collections.abc import Callable
from typing import Any, Final

SMALL_BYTES_MAX: Final = 65_536
"""Values up to this size are taken."""
MEMBERS_MAX: Final = 1_000
DEPTH: Final = 3
"""Objects this deep are taken apart whatever their size: message, result, `structuredContent`."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT: Final = rb'(?:[^"{}\[\]]++|' + _TEXT + rb")"
_STRING: Final = re.compile(_TEXT, re.DOTALL)
_SCALAR: Final = re.compile(rb'[^ \t\r\n,:"{}\[\]]++')
# All up to the next bracket that matters, lists and objects without any inside them included.
_TURN: Final = re.compile(rb"(?:" + _FLAT + rb"|[\[{]" + _FLAT + rb"*+[\]}])*+", re.DOTALL)
_OBJECT, _LIST, _QUOTE, _COLON, _COMMA = b'{[":,'
_OPENS, _CLOSES = b"{[", b"}]"

Load = Callable[[bytes], Any]


def skim(raw: bytes | bytearray, load: Load) -> Any:
    """A message, or a batch of them as a list; values that are large are None. `load` reads a small value.

    Raises ValueError for what is no JSON, as far as it was looked at.
    """
    try:
        start = _after_space(raw, 0)
        if raw[start] != _LIST:
            return _value(raw, start, load, DEPTH)[0]
        found = []
        start = _after_space(raw, start + 1)
        while raw[start] not in _CLOSES:
            message, end = _value(raw, start, load, DEPTH)
            found.append(message)
            start = _after_comma(raw, end)
        return found
    except IndexError:
        raise ValueError("the message ends before it is complete") from None


def _value(raw: bytes | bytearray, start: int, load: Load, depth: int) -> tuple[Any, int]:
    """A value and where it ends."""
    if depth and raw[start] == _OBJECT:
        return _members(raw, start, load, depth - 1)
    end = _end(raw, start)
    return (load(bytes(raw[start:end])) if end - start <= SMALL_BYTES_MAX else None), end


def _members(raw: bytes | bytearray, start: int, load: Load, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    start = _after_space(raw, start + 1)
    while raw[start] not in _CLOSES:
        end = _end(raw, start)
        key = str(load(bytes(raw[start:end]))) if end - start <= SMALL_BYTES_MAX else ""
        colon = _after_space(raw, end)
        if raw[colon] != _COLON:
            raise ValueError(f"there is no value at byte {colon}")
        start = _after_space(raw, colon + 1)
        if len(found) < MEMBERS_MAX:
            found[key], end = _value(raw, start, load, depth)
        else:
            end = _end(raw, start)
        start = _after_comma(raw, end)
    return found, start + 1


def _end(raw: bytes | bytearray, start: int) -> int:
    """Where the value ends that begins here."""
    first = raw[start]
    if first not in _OPENS:
        found = (_STRING if first == _QUOTE else _SCALAR).match(raw, start)
        if found is None:
            raise ValueError(f"there is no value at byte {start}")
        return found.end()
    depth, at = 1, start + 1
    while depth:
        turn = _TURN.match(raw, at)
        at = turn.end() if turn is not None else at
        if raw[at] == _QUOTE:
            raise ValueError(f"there is a text without an end at byte {at}")
        depth += 1 if raw[at] in _OPENS else -1
        at += 1
    return at


def _after_space(raw: bytes | bytearray, start: int) -> int:
    found = _SPACE.match(raw, start)
    return found.end() if found is not None else start


def _after_comma(raw: bytes | bytearray, end: int) -> int:
    """Where the next part begins, or the end of what it is a part of."""
    at = _after_space(raw, end)
    if raw[at] == _COMMA:
        return _after_space(raw, at + 1)
    if raw[at] not in _CLOSES:
        raise ValueError(f"there is neither a comma nor an end at byte {at}")
    return at
