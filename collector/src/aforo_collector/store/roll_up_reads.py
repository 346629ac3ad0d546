"""Hourly roll-ups as readers see them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from decimal import Decimal
from operator import add

from aforo_collector.domain.money import CONTEXT, ZERO
from aforo_collector.domain.usage import Counts, Occurrence, RollUp

from .texts import Texts

_KEYS = "kind, units, metric_no, label_no, status_no, step_no"
_KEYS_LENGTH = 6
_SUMS = (
    "calls", "input", "output", "reasoning", "cache_read", "cache_write", "events", "called", "inputs",
    "outputs", "reasonings", "cache_reads", "cache_writes", "costs", "unpriced",
)  # fmt: skip
_SELECT = (
    f"SELECT {_KEYS}, {', '.join(_SUMS)}, quantity, cost FROM usage_hourly"
    " WHERE payer_no = ? AND hour >= ? AND hour < ?"
)


class RollUpReads:
    """Adds the hours of payers up; they are net of everything that was taken back."""

    def __init__(self, connection: sqlite3.Connection, texts: Texts) -> None:
        self._db = connection
        self._texts = texts

    def over(
        self, payer_nos: Iterable[int], hour_from: int, hour_to: int, written: tuple[int, str] | None = None
    ) -> Iterator[RollUp]:
        """The sums over [hour_from, hour_to), in hours since 1970.

        `written` is (bit mask of units, name of a metric): only occurrences that have one of them.
        """
        select, values = _SELECT, [hour_from, hour_to]
        if written is not None:
            select += " AND (units & ? OR metric_no = ?)"
            values += [written[0], self._texts.number(written[1])]
        for payer_no in payer_nos:
            counts: dict[tuple[int, ...], list[int]] = {}
            amounts: dict[tuple[int, ...], tuple[Decimal, Decimal]] = {}
            for row in self._db.execute(select, (payer_no, *values)):
                key, found = row[:_KEYS_LENGTH], row[_KEYS_LENGTH:-2]
                before = counts.get(key)
                counts[key] = found if before is None else list(map(add, before, found))
                quantity, cost = amounts.get(key, (ZERO, ZERO))
                amounts[key] = (CONTEXT.add(quantity, Decimal(row[-2])), CONTEXT.add(cost, Decimal(row[-1])))
            for key, counted in counts.items():
                yield self._roll_up(payer_no, key, counted, *amounts[key])

    def _roll_up(
        self, payer_no: int, key: tuple[int, ...], sums: list[int], quantity: Decimal, cost: Decimal
    ) -> RollUp:
        kind, units, metric_no, label_no, status_no, step_no = key
        calls, input_, output, reasoning, cache_read, cache_write = sums[:6]
        total = Occurrence(
            kind, self._texts(label_no), self._texts(status_no), self._texts(step_no), self._texts(metric_no),
            calls, 0, input_, output, reasoning, cache_read, cache_write, quantity, cost,
        )  # fmt: skip
        return RollUp(payer_no, units, total, Counts(*sums[6:]))

    def events(self, payer_nos: Iterable[int], hour_from: int, hour_to: int) -> int:
        """How many occurrences the hours [hour_from, hour_to) have, net."""
        count = 0
        for payer_no in payer_nos:
            row = self._db.execute(
                "SELECT sum(events) FROM usage_hourly WHERE payer_no = ? AND hour >= ? AND hour < ?",
                (payer_no, hour_from, hour_to),
            ).fetchone()
            count += row[0] or 0
        return count
