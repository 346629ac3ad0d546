"""Hourly roll-ups of the writer: sums of occurrences, kept warm, written once per transaction."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import Any

from aforo_collector.domain.money import CONTEXT, ZERO
from aforo_collector.domain.usage import Occurrence

from .interning import Bounded

_KEYS = ("payer_no", "hour", "kind", "units", "metric_no", "label_no", "status_no", "step_no")
_COUNTS = (
    "events", "calls", "input", "output", "reasoning", "cache_read", "cache_write", "called", "inputs", "outputs",
    "reasonings", "cache_reads", "cache_writes", "costs", "unpriced",
)  # fmt: skip
_SUMS = (*_COUNTS, "quantity", "cost", "revenue")
_SELECT = f"SELECT {', '.join(_SUMS)} FROM usage_hourly WHERE {' AND '.join(f'{key} = ?' for key in _KEYS)}"
_REPLACE = f"INSERT OR REPLACE INTO usage_hourly VALUES ({', '.join('?' * len(_KEYS + _SUMS))})"
_REMEMBERED_MAX = 8_000
_add = CONTEXT.add

Key = tuple[int, ...]
Sums = list[Any]
"""The counts of a roll-up in the order of the table, then its amounts."""


class RollUps:
    """The sums as they are with everything that was folded; the recent ones stay in memory between transactions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._sums: Bounded[Key, Sums] = Bounded(_REMEMBERED_MAX)
        self._changed: dict[Key, Sums] = {}

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._sums.clear()
        self._changed.clear()

    def fold(self, key: Key, occurrence: Occurrence, sign: int = 1) -> None:
        """Count an occurrence, or with sign -1 take it back; the key is the primary key of the table."""
        sums = self._changed.get(key)
        if sums is None:
            sums = self._changed[key] = self._sums.get(key) or self._load(key)
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

    def _load(self, key: Key) -> Sums:
        row = self._db.execute(_SELECT, key).fetchone()
        if row is None:
            sums = [0] * len(_COUNTS) + [ZERO, ZERO, ZERO]
        else:
            sums = [*row[:-3], Decimal(row[-3]), Decimal(row[-2]), Decimal(row[-1])]
        self._sums.put(key, sums)
        return sums

    def flush(self) -> None:
        """Write the sums that have changed."""
        if self._changed:
            rows = [
                (*key, *sums[:-3], str(sums[-3]), str(sums[-2]), str(sums[-1]))
                for key, sums in self._changed.items()
            ]
            self._db.executemany(_REPLACE, rows)
            self._changed.clear()
