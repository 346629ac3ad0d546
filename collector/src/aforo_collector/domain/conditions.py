"""Filter conditions: which events count toward a billable unit (aforo-platform section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aforo_collector.domain.event_fields import find, text_of
from aforo_collector.domain.money import MoneyError, decimal_of

__all__ = ["OPERATORS", "Condition"]

OPERATORS: Final = (
    "EQUALS",
    "NOT_EQUALS",
    "GREATER_THAN",
    "LESS_THAN",
    "CONTAINS",
    "NOT_CONTAINS",
    "IN",
    "NOT_IN",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter of a billable unit: the event's `field` compared with `value` by one of `OPERATORS`."""

    field: str
    operator: str
    value: str

    def holds(self, *sources: Mapping[str, object]) -> bool:
        """Whether an event with these fields passes; an absent field passes only the negated operators.

        Two decimal numbers compare as numbers, anything else as text, and text is neither more nor less
        than anything. IN lists values by comma.
        """
        scalar = find(self.field, sources)
        found = None if scalar is None else text_of(scalar)
        if self.operator.startswith("NOT_"):
            return found is None or not _compare(self.operator.removeprefix("NOT_"), found, self.value)
        return found is not None and _compare(self.operator, found, self.value)


def _compare(operator: str, found: str, wanted: str) -> bool:
    if operator == "CONTAINS":
        return wanted in found
    if operator in {"IN", "EQUALS"}:
        options = wanted.split(",") if operator == "IN" else [wanted]
        return any(_same(found, option.strip()) for option in options)
    try:
        left, right = decimal_of(found), decimal_of(wanted)
    except MoneyError:
        return False
    return left > right if operator == "GREATER_THAN" else left < right


def _same(left: str, right: str) -> bool:
    try:
        return left == right or decimal_of(left) == decimal_of(right)
    except MoneyError:
        return False
