"""How the events of a billable unit become one number: sums and counts, and what needs every event's value.

COUNT counts events whatever their quantity, SUM adds up. Both add up from parts, so sums are enough for
them. MAX, MIN, AVG, COUNT_DISTINCT and PERCENTILE_n do not: they go by a `Tally` of the values themselves.

- MAX, MIN: the largest and the smallest value.
- AVG: the mean, rounded half-even to 12 digits after the point, so that a line can be multiplied out.
- PERCENTILE_n: nearest rank, the value at place ceil(n / 100 * events) in ascending order; never between two.
- COUNT_DISTINCT: how many different values there are; events without the field add none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aforo_collector.domain.money import CONTEXT, ZERO

__all__ = ["ABSENT", "ADDITIVE", "AGGREGATIONS", "Tally", "aggregation_of", "merged"]

AGGREGATIONS: Final = (
    "COUNT",
    "SUM",
    "MAX",
    "MIN",
    "AVG",
    "COUNT_DISTINCT",
    "PERCENTILE_50",
    "PERCENTILE_90",
    "PERCENTILE_95",
    "PERCENTILE_99",
)
"""The usual names; every PERCENTILE_1 to PERCENTILE_99 is one too."""

ADDITIVE: Final = ("COUNT", "SUM")
"""The aggregations whose number for a period is the sum of those of its parts."""

ABSENT: Final = ""
"""The value of an event that has none to tell apart."""

_PERCENTILE: Final = re.compile(r"(?:PERCENTILE_|P)([1-9][0-9]?)")
_MEAN_UNIT: Final = Decimal(1).scaleb(-12)


def aggregation_of(text: str) -> str | None:
    """The aggregation that a catalog names: UNIQUE is COUNT_DISTINCT, P95 is PERCENTILE_95; None for no such."""
    if text == "UNIQUE":
        return "COUNT_DISTINCT"
    if percentile := _PERCENTILE.fullmatch(text):
        return f"PERCENTILE_{percentile[1]}"
    return text if text in AGGREGATIONS else None


@dataclass(frozen=True, slots=True)
class Tally:
    """The values of some events of a unit as {value: number of events}: decimal text, or any text to tell apart."""

    aggregation: str
    values: Mapping[str, int]

    def total(self) -> Decimal:
        """The number that these events come to; 0 for none."""
        if self.aggregation == "COUNT_DISTINCT":
            return Decimal(len(self.values.keys() - {ABSENT}))
        if not self.values:
            return ZERO
        numbers = [(Decimal(value), count) for value, count in self.values.items()]
        if self.aggregation.startswith("PERCENTILE_"):
            return _percentile(int(self.aggregation.removeprefix("PERCENTILE_")), numbers)
        return _TOTALS[self.aggregation](numbers)


def merged(tallies: Iterable[Tally]) -> Tally:
    """All values of some tallies of one unit; at least one."""
    first, *rest = tallies
    values = Counter(first.values)
    for tally in rest:
        values.update(tally.values)
    return Tally(first.aggregation, values)


_Numbers = list[tuple[Decimal, int]]
"""(value, number of events), in no order."""


def _sum(numbers: _Numbers) -> Decimal:
    total = ZERO
    for number, count in numbers:
        total = CONTEXT.fma(number, count, total)
    return total


def _mean(numbers: _Numbers) -> Decimal:
    count = sum(count for _, count in numbers)
    return CONTEXT.quantize(CONTEXT.divide(_sum(numbers), count), _MEAN_UNIT)


def _largest(numbers: _Numbers) -> Decimal:
    return max(number for number, _ in numbers)


def _smallest(numbers: _Numbers) -> Decimal:
    return min(number for number, _ in numbers)


def _percentile(percent: int, numbers: _Numbers) -> Decimal:
    rank = -(-percent * sum(count for _, count in numbers) // 100)
    for number, count in sorted(numbers):
        rank -= count
        if rank <= 0:
            return number
    raise AssertionError("a rank is at most the number of events")


_TOTALS: Final[Mapping[str, Callable[[_Numbers], Decimal]]] = {
    "SUM": _sum,
    "MAX": _largest,
    "MIN": _smallest,
    "AVG": _mean,
}
