"""Reading attribute values that came from protobuf, from JSON or from a test, all in one way."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class SpanError(ValueError):
    """A span that cannot be billed as it is; the text says what is wrong with it."""


class Value(Protocol):
    """An OTLP AnyValue with its scalar kinds as fields; the kinds that are not set are zero."""

    @property
    def s(self) -> str:
        """Text."""

    @property
    def b(self) -> bool:
        """Truth."""

    @property
    def i(self) -> int:
        """A 64-bit integer."""

    @property
    def d(self) -> float:
        """A double."""


class Plain(NamedTuple):
    """A value made in Python."""

    s: str = ""
    b: bool = False
    i: int = 0
    d: float = 0.0


class Attributes(Protocol):
    """Attributes by name: a protobuf map or a dict. Asking with `in` first is cheaper than a failed look-up."""

    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: str, /) -> Value: ...


TEXT_LENGTH_MAX = 255
TOKENS_MAX = 10**12


def plain(value: str | bool | int | float) -> Plain:
    """Wrap a Python scalar as a `Value`."""
    if isinstance(value, bool):
        return Plain(b=value)
    if isinstance(value, int):
        return Plain(i=value)
    if isinstance(value, float):
        return Plain(d=value)
    return Plain(s=value)


def count_of(key: str, value: Value) -> int:
    """A token count: a whole number from 0 to 10^12, whatever scalar kind carries it."""
    number = value.i
    if 0 < number <= TOKENS_MAX:
        return number
    if number == 0:
        if value.d:
            if not value.d.is_integer():  # NaN and infinity are not integers either
                raise SpanError(f"{key} is {value.d}, not a whole number of tokens")
            number = int(value.d)
        elif value.s:
            if not (value.s.isascii() and value.s.isdigit() and len(value.s) <= 15):
                raise SpanError(f"{key} is {value.s[:40]!r}, not a whole number of tokens")
            number = int(value.s)
    if not 0 <= number <= TOKENS_MAX:
        raise SpanError(f"{key} is {number}, outside 0 to {TOKENS_MAX}")
    return number


def identifier(attributes: Attributes, key: str) -> str:
    """An id that decides who pays: never cut, because a cut id is somebody else's."""
    text = attributes[key].s
    if len(text) > TEXT_LENGTH_MAX:
        raise SpanError(f"{key} has {len(text)} characters, more than {TEXT_LENGTH_MAX}")
    return text
