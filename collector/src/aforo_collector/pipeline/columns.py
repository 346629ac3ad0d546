"""Admit by column: what the validator finds of a value, for all values of a field at once.

Each of these takes the values of one field in many events. A row whose value is out of the ordinary joins
`odd`, and what stands in its place means nothing: its event goes through `admit` alone, which knows the words
for what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeAlias

from aforo_collector.domain.money import ZERO, plain
from aforo_collector.domain.session import duration_of

from .admit import INTEGER_DIGITS_MAX, Refused, check, moment_of, quantity_of
from .wire_names import TEXT_LENGTHS

Values: TypeAlias = Sequence[object]
Odd: TypeAlias = set[int]

_WHOLE_LIMIT: Final = 10**INTEGER_DIGITS_MAX
_KEY_LENGTH_MAX: Final = TEXT_LENGTHS["idempotencyKey"] // 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_read: Final = datetime.fromisoformat


def keys(values: Values, odd: Odd) -> Sequence[str | None]:
    """Idempotency keys, None where an event has none."""
    if set(map(type, values)) == {str}:
        texts: Sequence[str] = values  # type: ignore[assignment]
        if (
            max(map(len, texts)) <= _KEY_LENGTH_MAX
            and all(map(str.strip, texts))
            and "\0" not in "".join(texts)
        ):
            return texts
    found: list[str | None] = []
    for row, value in enumerate(values):
        key = value if type(value) is str else None
        if value is not None and not (
            key and len(key) <= _KEY_LENGTH_MAX and "\0" not in key and not key.isspace()
        ):
            odd.add(row)
        found.append(key)
    return found


def quantities(values: Values, odd: Odd) -> tuple[Sequence[Decimal], Sequence[str]]:
    """Quantities, and each of them in canonical form."""
    if set(map(type, values)) == {int}:
        numbers: Sequence[int] = values  # type: ignore[assignment]
        if min(numbers) >= 0 and max(numbers) < _WHOLE_LIMIT:
            return list(map(Decimal, numbers)), list(map(str, numbers))
    found: list[Decimal] = []
    texts: list[str] = []
    for row, value in enumerate(values):
        if type(value) is int and 0 <= value < _WHOLE_LIMIT:
            found.append(Decimal(value))
            texts.append(str(value))
            continue
        try:
            quantity = quantity_of(value)
        except Refused:
            odd.add(row)
            quantity = ZERO
        found.append(quantity)
        texts.append(plain(quantity))
    return found, texts


def moments(values: Values, bounds_ns: tuple[int, int], odd: Odd) -> Sequence[int]:
    """Moments in ns since 1970, 0 where an event leaves its time to the collector."""
    first_ns, last_ns = bounds_ns
    try:
        found = [(_read(value) - _EPOCH) // _MICROSECOND * 1000 for value in values]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):  # not all are text with an offset
        pass
    else:
        if first_ns <= min(found) and max(found) <= last_ns:
            return found
    found = []
    for row, value in enumerate(values):
        moment_ns = 0
        if value not in (None, ""):
            try:
                moment_ns = moment_of(value, bounds_ns)
            except Refused:
                odd.add(row)
        found.append(moment_ns)
    return found


def durations(values: Values, odd: Odd) -> Sequence[int | None]:
    """Durations in ns, None where an event states none."""
    found: list[int | None] = []
    for row, value in enumerate(values):
        if value is not None:
            try:
                check("executionDurationMs", value)
            except Refused:
                odd.add(row)
        found.append(None if value is None else duration_of(value))
    return found
