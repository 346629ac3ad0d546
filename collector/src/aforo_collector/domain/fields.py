"""Reading tables of a catalog file: every problem is collected with its path, nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from aforo_collector.domain.money import CONTEXT, ZERO, MoneyError, decimal_of

__all__ = ["Fields"]

_NAME_LENGTH_MAX: Final = 256
_DIGITS_EACH_SIDE_MAX: Final = 15


class Fields:
    """One table of the file: readers take its keys one by one, `end` reports the keys that nobody took.

    A reader that finds a problem reports it and returns its fallback, so that one pass finds all problems.
    `path` is how messages name the table, like `rate_plans[0].prices[1]`, empty for the file itself.
    """

    __slots__ = ("_problems", "_table", "path")

    def __init__(self, table: object, path: str, problems: list[str]) -> None:
        self.path = path
        self._problems = problems
        self._table: dict[str, object] = {}
        if not isinstance(table, Mapping):
            self.report("", "not a table")
            return
        for key, value in table.items():
            if isinstance(key, str):
                self._table[key] = value
            else:
                self.report("", f"key {key!r} is not text")

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def report(self, key: str, problem: str) -> None:
        """Adds a problem with a key of this table, or with the table itself when `key` is empty."""
        path = ".".join(part for part in (self.path, key) if part)
        self._problems.append(f"{path}: {problem}" if path else problem)

    def end(self) -> None:
        """Reports all keys that were not read."""
        for key in sorted(self._table):
            self.report(key, "unknown key")
        self._table.clear()

    def skip(self) -> None:
        """Takes all keys unread: the table is not understood, and that was reported already."""
        self._table.clear()

    def text(self, key: str, fallback: str = "") -> str:
        """Non-empty text; required unless a fallback is given."""
        if key not in self._table and fallback:
            return fallback
        return self.optional_text(key, required=True) or fallback

    def optional_text(self, key: str, *, required: bool = False) -> str | None:
        """Non-empty text, or None when the key is absent."""
        if key not in self._table:
            if required:
                self.report(key, "missing")
            return None
        return self._as_text(key, self._table.pop(key))

    def choice(self, key: str, allowed: Sequence[str], fallback: str = "") -> str:
        """One of the allowed words; required unless a fallback is given."""
        value = self.text(key, fallback)
        if value and value not in allowed:
            self.report(key, f"{value!r} is not one of {', '.join(allowed)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different non-empty texts; empty when absent."""
        values = [self._as_text(f"{key}[{n}]", value) for n, value in enumerate(self._list(key))]
        texts = tuple(value for value in values if value is not None)
        for repeated in sorted({value for value in texts if texts.count(value) > 1}):
            self.report(key, f"{repeated!r} stands there twice")
        return texts

    def decimal(self, key: str, fallback: Decimal = ZERO) -> Decimal:
        """A decimal of at least 0; the fallback when absent."""
        value = self.optional_decimal(key)
        return fallback if value is None else value

    def optional_decimal(self, key: str, *, required: bool = False) -> Decimal | None:
        """A decimal of at least 0, or None when the key is absent."""
        if key not in self._table:
            if required:
                self.report(key, "missing")
            return None
        return self._as_decimal(key, self._table.pop(key))

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number from `least` to `most`; 0 when absent."""
        value = self.optional_decimal(key)
        if value is None:
            return 0
        if value != value.to_integral_value() or not least <= value <= most:
            self.report(key, f"{value} is no whole number from {least} to {most}")
            return 0
        return int(value)

    def decimals(self, key: str) -> Mapping[str, Decimal]:
        """A table of decimals of at least 0 by name; empty when absent."""
        if key not in self._table:
            return MappingProxyType({})
        inner = Fields(self._table.pop(key), f"{self.path}.{key}" if self.path else key, self._problems)
        values = {name: inner.optional_decimal(name) for name in sorted(inner._table)}
        return MappingProxyType({name: value for name, value in values.items() if value is not None})

    def tables(self, key: str) -> Iterator[Fields]:
        """The tables of a list, one by one; none when absent. Each is ended when the next is asked for."""
        path = f"{self.path}.{key}" if self.path else key
        for n, table in enumerate(self._list(key)):
            inner = Fields(table, f"{path}[{n}]", self._problems)
            yield inner
            inner.end()

    def _list(self, key: str) -> list[object]:
        value = self._table.pop(key, [])
        if isinstance(value, list | tuple):
            return list(value)
        self.report(key, "not a list")
        return []

    def _as_text(self, key: str, value: object) -> str | None:
        if not isinstance(value, str):
            self.report(key, "not text")
        elif not value or value != value.strip() or not value.isprintable():
            self.report(key, "empty, or with blanks around it or characters that cannot be printed")
        elif len(value) > _NAME_LENGTH_MAX:
            self.report(key, f"longer than {_NAME_LENGTH_MAX} characters")
        else:
            return value
        return None

    def _as_decimal(self, key: str, value: object) -> Decimal | None:
        if not isinstance(value, str | int | Decimal):
            self.report(key, f"not a decimal: {type(value).__name__} is not exact, write it as text")
            return None
        try:
            number = decimal_of(value)
        except MoneyError as error:
            self.report(key, f"not a decimal: {error}")
            return None
        if number < 0:
            self.report(key, "below 0")
        elif number and (
            number.adjusted() >= _DIGITS_EACH_SIDE_MAX or _fraction_digits(number) > _DIGITS_EACH_SIDE_MAX
        ):
            self.report(key, f"more than {_DIGITS_EACH_SIDE_MAX} digits before or after the point")
        else:
            return number
        return None


def _fraction_digits(number: Decimal) -> int:
    return -int(number.normalize(CONTEXT).as_tuple().exponent)
