"""The values that every pricing model speaks: usage in, charges out, terms between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol

from aforo_collector.domain.aggregation import Tally
from aforo_collector.domain.money import CONTEXT, ZERO

if TYPE_CHECKING:
    from aforo_collector.domain.fields import Fields

__all__ = ["OVERAGES", "Charge", "Price", "Terms", "Usage", "by_dimension", "total_of"]

OVERAGES: Final = ("CHARGE", "BLOCK", "IGNORE")
"""What may become of usage beyond what a price includes."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Events of one metric that agree in all `dimensions`: their summed quantity and their number.

    Dimensions carry the event's field names of the wire: toolName, executionStatus, model, stepType, agentId,
    capabilityName, closeReason and so on; a dimension the events do not have is absent. `tally` has the values
    of the events where their unit needs them; then it says what was used, and not the quantity.
    """

    metric: str
    dimensions: Mapping[str, str]
    quantity: Decimal
    event_count: int = 1
    tally: Tally | None = None


class Terms(Protocol):
    """The parameters of one pricing model and the arithmetic that goes with them; immutable."""

    @property
    def dimension(self) -> str | None:
        """The usage dimension that splits the charge into lines; None for one line."""
        ...

    @property
    def limit(self) -> Decimal | None:
        """How much may be used in a period; None for no bound. It is asked for, never enforced here."""
        ...

    def weight(self, dimensions: Mapping[str, str]) -> Decimal:
        """The share of such a usage's quantity that is billable; 0 keeps it off the invoice."""
        ...

    def covers(self, dimensions: Mapping[str, str]) -> bool:
        """Whether the terms name a price for such a usage; what they do not cover is reported as unrated."""
        ...

    def charges(self, price: Price, usage: Sequence[Usage]) -> list[Charge]:
        """The charges for covered, weighed usage of a whole period, sorted by dimension, unrounded."""
        ...

    def estimate(self, dimensions: Mapping[str, str], quantity: Decimal) -> Decimal | None:
        """What `quantity` billable units alone earn at list price; None when that cannot be said."""
        ...

    def parameters(self) -> dict[str, object]:
        """The terms as keys of the catalog file."""
        ...


class TermsReader(Protocol):
    """Reads one model's terms from a price table of the catalog file, reporting every problem it finds."""

    def __call__(self, fields: Fields, metric: str) -> Terms:
        """The terms for a metric; when a problem was reported, any value."""
        ...


@dataclass(frozen=True, slots=True)
class Price:
    """What we charge for one metric: a pricing model and its terms.

    `aggregation` is that of the metric's unit: under COUNT an event is one unit, whatever its quantity.
    """

    metric: str
    model: str
    terms: Terms
    aggregation: str = "SUM"


@dataclass(frozen=True, slots=True)
class Charge:
    """A rated quantity, unrounded, with the price that made it.

    `quantity` is what was used after outcome weights; `included` of it is free; `unit_price` already has the
    multiplier of the dimension value in it. So amount = (quantity - included) * unit_price, always.
    """

    metric: str
    dimension: str | None
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    event_count: int
    price: Price | None = None
    included: Decimal = ZERO


def by_dimension(usage: Sequence[Usage], dimension: str | None) -> list[tuple[str | None, list[Usage]]]:
    """Usage grouped by the value of `dimension`, sorted; usage without a value comes first, under None."""
    groups: dict[str | None, list[Usage]] = {}
    for entry in usage:
        value = entry.dimensions.get(dimension) if dimension is not None else None
        groups.setdefault(value, []).append(entry)
    return sorted(groups.items(), key=lambda group: (group[0] is not None, group[0] or ""))


def total_of(usage: Sequence[Usage]) -> tuple[Decimal, int]:
    """Summed quantity and number of events."""
    quantity = ZERO
    for entry in usage:
        quantity = CONTEXT.add(quantity, entry.quantity)
    return quantity, sum(entry.event_count for entry in usage)
