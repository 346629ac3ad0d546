"""Roll-ups as readers see them: whole days from the daily rows, the hours before and after from the hourly ones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Final, NamedTuple

from aforo_collector.domain.usage import Counts, Kind, Occurrence, RollUp

from .roll_up_rows import COUNTS, DAY_HOURS, KEYS, SUMMED, Sums, added, count, nothing, sums_in
from .texts import Texts

HOUR_LAST: Final = 2**63 // 3_600_000_000_000
"""Later than anything that can have occurred, in hours since 1970."""

_NAMES = KEYS[5:]
_OF_USAGE = ("events", "costs", "unpriced", *SUMMED[len(COUNTS) :])
_SUMS: Final = {
    f"kind = {Kind.USAGE:d}": [f"sum({name})" if name in _OF_USAGE else "0" for name in SUMMED],
    f"kind <> {Kind.USAGE:d}": [f"sum({name})" for name in SUMMED],
}
"""What to add up of which rows: usage events of any metric have no tokens and no calls."""


_counted = itemgetter(*(COUNTS.index(name) for name in Counts._fields))


class Grain(NamedTuple):
    """How finely sums are told apart: by "hour" or "day" or not by time (""), by what happened or not.

    `names` are label, status and step type; without them those are empty.
    """

    period: str = ""
    names: bool = True


class Wanted(NamedTuple):
    """Which roll-ups: (bit mask of units, number of a metric), number of a label, of a status; None is any."""

    metric: tuple[int, int] | None = None
    label_no: int | None = None
    status_no: int | None = None


class GroupKey(NamedTuple):
    """What the occurrences of a sum have in common; `period` counts hours or days since 1970, 0 for all time."""

    group: int
    period: int
    kind: int
    units: int
    metric_no: int
    label_no: int
    status_no: int
    step_no: int


EVERYTHING: Final = Wanted()


class RollUpReads:
    """Adds roll-ups up; they are net of everything that was taken back."""

    def __init__(self, connection: sqlite3.Connection, texts: Texts) -> None:
        self._db = connection
        self._texts = texts

    def over(
        self, payer_nos: Iterable[int], hour_from: int, hour_to: int, written: tuple[int, str] | None = None
    ) -> Iterator[RollUp]:
        """The sums of each payer over [hour_from, hour_to), in hours since 1970.

        `written` is (bit mask of units, name of a metric): only occurrences that have one of them.
        """
        groups = {payer_no: payer_no for payer_no in payer_nos}
        wanted = EVERYTHING if written is None else Wanted((written[0], self._texts.number(written[1])))
        for key, sums in self.sums(groups, (hour_from, hour_to), Grain(), wanted).items():
            yield self.roll_up(key, sums)

    def sums(
        self, groups: Mapping[int, int], hours: tuple[int, int], grain: Grain, wanted: Wanted = EVERYTHING
    ) -> dict[GroupKey, Sums]:
        """The sums of groups of payers, given as {payer number: group}, over [from, to) hours since 1970."""
        found: dict[GroupKey, Sums] = {}
        for table, first, last in _stretches(*hours, grain.period):
            for kinds in _SUMS:
                for row in self._grouped(table, kinds, groups, first, last, grain, wanted):
                    key, sums = GroupKey(*row[: len(KEYS)]), sums_in(row[len(KEYS) :])
                    before = found.get(key)
                    found[key] = sums if before is None else added(before, sums)
        return found

    def _grouped(
        self,
        table: str,
        kinds: str,
        groups: Mapping[int, int],
        first: int,
        last: int,
        grain: Grain,
        wanted: Wanted,
    ) -> sqlite3.Cursor:
        column = "day" if table == "usage_daily" else "hour"
        period = {"": "0", column: column}.get(grain.period, f"hour / {DAY_HOURS}")
        names = _NAMES if grain.names else ["0"] * len(_NAMES)
        keys = ["payers", period, "kind", "units", "metric_no", *names]
        conditions, values = [kinds, f"{column} >= ?", f"{column} < ?"], [first, last]
        if wanted.metric is not None:
            conditions.append("(units & ? OR metric_no = ?)")
            values += wanted.metric
        for name, number in (("label_no", wanted.label_no), ("status_no", wanted.status_no)):
            if number is not None:
                conditions.append(f"{name} = ?")
                values.append(number)
        return self._db.execute(
            "WITH payer (payer_no, payers) AS MATERIALIZED"
            " (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
            f" SELECT {', '.join(keys)}, {', '.join(_SUMS[kinds])}, group_concat(rest, ' ')"
            f" FROM payer CROSS JOIN {table} USING (payer_no) WHERE {' AND '.join(conditions)}"
            f" GROUP BY {', '.join(key for key in keys if key != '0')}",
            (json.dumps(list(groups.items())), *values),
        )

    def roll_up(self, key: GroupKey, sums: Sums) -> RollUp:
        """A sum with the names that its numbers stand for; its payer number is that of the group."""
        _, calls, input_, output, reasoning, cache_read, cache_write, *_, quantity, cost, revenue = sums
        total = Occurrence(
            key.kind, self._texts(key.label_no), self._texts(key.status_no), self._texts(key.step_no),
            self._texts(key.metric_no), calls, 0, input_, output, reasoning, cache_read, cache_write, quantity,
            cost, revenue=revenue,
        )  # fmt: skip
        return RollUp(key.group, key.units, total, _counts(sums))

    def events(self, payer_nos: Iterable[int], hour_from: int, hour_to: int) -> int:
        """How many occurrences the hours [hour_from, hour_to) have, net."""
        row = self._db.execute(
            "SELECT sum(events) FROM json_each(?) j CROSS JOIN usage_hourly ON payer_no = j.value"
            " WHERE hour >= ? AND hour < ?",
            (json.dumps(list(payer_nos)), hour_from, hour_to),
        ).fetchone()
        return row[0] or 0


def _stretches(hour_from: int, hour_to: int, period: str) -> Iterator[tuple[str, int, int]]:
    """(table, first, last) of the rows that make up the hours: days where they are whole and will do."""
    day_from, day_to = -(-hour_from // DAY_HOURS), hour_to // DAY_HOURS
    if period == "hour" or day_from >= day_to:
        stretches = [("usage_hourly", hour_from, hour_to)]
    else:
        stretches = [
            ("usage_hourly", hour_from, day_from * DAY_HOURS),
            ("usage_daily", day_from, day_to),
            ("usage_hourly", day_to * DAY_HOURS, hour_to),
        ]
    return ((table, first, last) for table, first, last in stretches if first < last)


def roll_up_of(group: int, units: int, occurrence: Occurrence) -> RollUp:
    """One occurrence, as if it were the sum of many."""
    sums = nothing()
    count(sums, occurrence)
    return RollUp(group, units, occurrence, _counts(sums))


def _counts(sums: Sums) -> Counts:
    return Counts._make(_counted(sums))
