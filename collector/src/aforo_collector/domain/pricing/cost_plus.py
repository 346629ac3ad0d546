"""COST_PLUS: what the provider charged us, with a markup. The quantity of such a metric is a cost in US
dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aforo_collector.domain.fields import Fields
from aforo_collector.domain.money import CONTEXT, ZERO, plain
from aforo_collector.domain.pricing.terms import Charge, Price, Usage, by_dimension, total_of

__all__ = ["CostPlus", "read"]

_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class CostPlus:
    """Terms of COST_PLUS: `markup` is a fraction (0.20 adds a fifth), `dimension` splits the charge."""

    markup: Decimal = ZERO
    dimension: str | None = None

    @property
    def limit(self) -> Decimal | None:
        """Costs have no bound."""
        return None

    def weight(self, dimensions: Mapping[str, str]) -> Decimal:  # noqa: ARG002 - the protocol's signature
        """A cost is passed on whatever came of the call: we paid it too."""
        return _ONE

    def covers(self, dimensions: Mapping[str, str]) -> bool:  # noqa: ARG002 - the protocol's signature
        """All usage is covered."""
        return True

    def charges(self, price: Price, usage: Sequence[Usage]) -> list[Charge]:
        """One charge per dimension value: quantity is the cost, unit price is 1 + markup."""
        factor = CONTEXT.add(_ONE, self.markup)
        charges = []
        for value, group in by_dimension(usage, self.dimension):
            cost, event_count = total_of(group)
            amount = CONTEXT.multiply(cost, factor)
            charges.append(Charge(price.metric, value, cost, factor, amount, event_count, price))
        return charges

    def estimate(self, dimensions: Mapping[str, str], quantity: Decimal) -> Decimal | None:  # noqa: ARG002
        """The cost with its markup."""
        return CONTEXT.multiply(quantity, CONTEXT.add(_ONE, self.markup))

    def parameters(self) -> dict[str, object]:
        """The keys of the catalog file."""
        keys: dict[str, object] = {"markup": plain(self.markup)}
        if self.dimension is not None:
            keys["dimension"] = self.dimension
        return keys


def read(fields: Fields, metric: str) -> CostPlus:  # noqa: ARG001 - the table's signature
    """The terms of a COST_PLUS price table of the catalog file."""
    return CostPlus(
        markup=fields.optional_decimal("markup", required=True) or ZERO,
        dimension=fields.optional_text("dimension"),
    )
