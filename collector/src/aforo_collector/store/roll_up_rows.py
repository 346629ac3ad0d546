"""Roll-ups of the writer: what occurrences add up to by hour and by day, folded in memory, then added to the rows.

An amount is kept as whole units and 10^-12 units in two integers, so that SQLite adds millions of them exactly;
what fits in neither stands as decimal text in `rest`, which hardly any row has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import add, itemgetter
from typing import Any, Final

from aforo_collector.domain.money import CONTEXT, ZERO
from aforo_collector.domain.usage import Occurrence

KEYS: Final = ("payer_no", "hour", "kind", "units", "metric_no", "label_no", "status_no", "step_no")
COUNTS: Final = (
    "events", "calls", "input", "output", "reasoning", "cache_read", "cache_write", "called", "inputs", "outputs",
    "reasonings", "cache_reads", "cache_writes", "costs", "unpriced",
)  # fmt: skip
AMOUNTS: Final = ("quantity", "cost", "revenue")
DAY_HOURS: Final = 24

_PICO: Final = 10**12
_WHOLE_MAX: Final = 10**12
"""Of larger sums nine million could not be added in 64 bits."""
SUMMED: Final = (*COUNTS, *(column for name in AMOUNTS for column in (name, f"{name}_pico")))
"""The columns of both tables that add up; `rest` follows them."""
_add = CONTEXT.add
_key_of = itemgetter(slice(len(KEYS)))

Key = tuple[int, ...]
"""The numbers of `KEYS`."""
Sums = list[Any]
"""The counts in the order of `COUNTS`, then quantity, cost and revenue as `Decimal`s."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What the rows of USAGE events that are alike have in common; good until `EventRows.forget`."""

    customer_no: int
    head: tuple[int, int, int]
    """From the kind to the span id."""
    names: tuple[int, int, int, int, int]
    """From the units to the metric."""
    payer_no: int

    def key(self, hour: int) -> Key:
        """Where they count."""
        units, label_no, status_no, step_no, metric_no = self.names
        return self.payer_no, hour, self.head[0], units, metric_no, label_no, status_no, step_no


def nothing() -> Sums:
    """The sums of no occurrence."""
    return [0] * len(COUNTS) + [ZERO, ZERO, ZERO]


def count(sums: Sums, occurrence: Occurrence, sign: int = 1) -> None:
    """Add an occurrence to sums, or with sign -1 take it off."""
    (_, _, _, _, _, calls, _, input_, output, reasoning, cache_read, cache_write, quantity, cost, reason, _,
     revenue) = occurrence  # fmt: skip
    sums[0] += sign
    if calls:
        sums[1] += sign * calls
        sums[7] += sign
    if input_:
        sums[2] += sign * input_
        sums[8] += sign
    if output:
        sums[3] += sign * output
        sums[9] += sign
    if reasoning:
        sums[4] += sign * reasoning
        sums[10] += sign
    if cache_read:
        sums[5] += sign * cache_read
        sums[11] += sign
    if cache_write:
        sums[6] += sign * cache_write
        sums[12] += sign
    if reason:
        sums[14] += sign
    if quantity:
        sums[15] = _add(sums[15], quantity if sign > 0 else CONTEXT.minus(quantity))
    if cost:
        sums[13] += sign
        sums[16] = _add(sums[16], cost if sign > 0 else CONTEXT.minus(cost))
    if revenue:
        sums[17] = _add(sums[17], revenue if sign > 0 else CONTEXT.minus(revenue))


class RollUps:
    """What was folded since the last flush, added to `usage_hourly` and `usage_daily` by `flush`.

    `schema` is where the tables are: those of the file, or temporary ones to compare them with.
    """

    def __init__(self, connection: sqlite3.Connection, schema: str = "main") -> None:
        self._db = connection
        self._folded: dict[Key, Sums] = {}
        self._usage: dict[tuple[Track, int], list[Any]] = {}
        """By track and hour: how many events, their quantity and their revenue."""
        connection.create_function("add_rests", 2, add_rests, deterministic=True)
        tables = (f"{schema}.usage_hourly", "?2"), (f"{schema}.usage_daily", f"?2 / {DAY_HOURS}")
        self._add = [_adding(table, period) for table, period in tables]
        self._add_usage = [_adding(table, period, _USAGE) for table, period in tables]

    def forget(self) -> None:
        """Drop what was folded by a transaction that was rolled back."""
        self._folded.clear()
        self._usage.clear()

    def fold(self, key: Key, occurrence: Occurrence, sign: int = 1) -> None:
        """Count an occurrence, or with sign -1 take it back; the key is that of `usage_hourly`."""
        sums = self._folded.get(key)
        if sums is None:
            sums = self._folded[key] = nothing()
        count(sums, occurrence, sign)

    def fold_usage(self, track: Track, hour: int, quantity: Decimal, revenue: Decimal | None) -> None:
        """Count a USAGE event of a track, which has nothing else to count."""
        sums = self._usage.get((track, hour))
        if sums is None:
            self._usage[track, hour] = [1, quantity, revenue or ZERO]
            return
        sums[0] += 1
        sums[1] = _add(sums[1], quantity)
        if revenue:
            sums[2] = _add(sums[2], revenue)

    def flush(self) -> None:
        """Add what was folded to the rows."""
        rows, usage_rows = [], []
        for (track, hour), (events, *amounts) in self._usage.items():
            key = track.key(hour)
            quantity, revenue = map(_limbs, amounts)
            if quantity is not None and revenue is not None:
                usage_rows.append((*key, events, *quantity, *revenue))
            else:
                rows.append(_row(key, [events, *_NO_COUNTS, amounts[0], ZERO, amounts[1]]))
        rows += [_row(key, sums) for key, sums in self._folded.items() if sums[0] or any(sums)]
        # In the order of the tables, so that neighbours are written together. Two rows may be of one key.
        rows.sort(key=_key_of)
        usage_rows.sort(key=_key_of)
        for statement in self._add:
            self._db.executemany(statement, rows)
        for statement in self._add_usage:
            self._db.executemany(statement, usage_rows)
        self._folded.clear()
        self._usage.clear()


_QUANTITY: Final = len(COUNTS)
_NO_COUNTS: Final = [0] * (_QUANTITY - 1)
_USAGE: Final = ("events", "quantity", "quantity_pico", "revenue", "revenue_pico")
"""All that usage without tokens, calls and cost adds: written apart, for most rows of most files are such."""


def _adding(table: str, period: str, columns: Sequence[str] = (*SUMMED, "rest")) -> str:
    """The statement that adds a row of a key and of these columns; the others stay, or begin at nothing."""
    values = [period if name == "hour" else f"?{at}" for at, name in enumerate((*KEYS, *columns), 1)]
    absent = {name: "NULL" if name == "rest" else "0" for name in (*SUMMED, "rest") if name not in columns}
    given = dict(zip((*KEYS, *columns), values, strict=True)) | absent
    added = [f"{name} = {name} + excluded.{name}" for name in COUNTS if name in columns]
    for name in AMOUNTS:
        if name in columns:
            pico = f"({name}_pico + excluded.{name}_pico)"
            added.append(
                f"{name} = {name} + excluded.{name} + {pico} / {_PICO}, {name}_pico = {pico} % {_PICO}"
            )
    if "rest" in columns:
        added.append(
            "rest = CASE WHEN excluded.rest IS NULL THEN rest ELSE add_rests(rest, excluded.rest) END"
        )
    ordered = ", ".join(given[name] for name in (*KEYS, *SUMMED, "rest"))
    return f"INSERT INTO {table} VALUES ({ordered}) ON CONFLICT DO UPDATE SET {', '.join(added)}"


def _row(key: Key, sums: Sums) -> tuple[Any, ...]:
    limbs: list[int] = []
    rests = [ZERO, ZERO, ZERO]
    for at, amount in enumerate(sums[_QUANTITY:]):
        found = _limbs(amount)
        limbs += found or (0, 0)
        if found is None:
            rests[at] = amount
    return (*key, *sums[:_QUANTITY], *limbs, " ".join(map(str, rests)) if any(rests) else None)


def _limbs(amount: Decimal) -> tuple[int, int] | None:
    """An amount as whole units and 10^-12 units, the latter from 0; None for one that they cannot say."""
    whole, pico = int(amount), 0
    if whole != amount:
        scaled = amount.scaleb(12, CONTEXT)
        if int(scaled) != scaled:
            return None
        whole, pico = divmod(int(scaled), _PICO)
    return (whole, pico) if -_WHOLE_MAX < whole < _WHOLE_MAX else None


def add_rests(left: str | None, right: str | None) -> str | None:
    """The sum of two `rest`s, each the text of three amounts; None for nothing."""
    sums = map(_add, rests_in(left), rests_in(right))
    found = [str(amount) if amount else "0" for amount in sums]
    return None if found == ["0", "0", "0"] else " ".join(found)


def added(left: Sums, right: Sums) -> Sums:
    """Two sums in one."""
    return [*map(add, left[:-3], right[:-3]), *map(_add, left[-3:], right[-3:])]


def rests_in(texts: str | None) -> list[Decimal]:
    """Quantity, cost and revenue summed over any number of `rest`s with blanks between them."""
    sums = [ZERO, ZERO, ZERO]
    for at, text in enumerate((texts or "").split()):
        sums[at % 3] = _add(sums[at % 3], Decimal(text))
    return sums


def sums_in(numbers: Sequence[Any]) -> Sums:
    """The sums that a row says: counts, limbs and rest in the order of the table."""
    *counts, quantity, quantity_pico, cost, cost_pico, revenue, revenue_pico, rest = numbers
    amounts = [_amount(quantity, quantity_pico), _amount(cost, cost_pico), _amount(revenue, revenue_pico)]
    if rest is not None:
        amounts = list(map(_add, amounts, rests_in(rest)))
    return counts + amounts


def _amount(whole: int, pico: int) -> Decimal:
    return _add(Decimal(whole), Decimal(pico).scaleb(-12, CONTEXT)) if pico else Decimal(whole)
