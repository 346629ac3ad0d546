"""PER_UNIT: quantity times a unit price, which may differ by dimension value; some units may be free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from aforo_collector.domain.fields import Fields
from aforo_collector.domain.money import CONTEXT, ZERO, plain
from aforo_collector.domain.pricing.terms import OVERAGES, Charge, Price, Usage, by_dimension, total_of

__all__ = ["PerUnit", "read"]

_ONE: Final = Decimal(1)
_STATUS: Final = "executionStatus"
_SUCCESS: Final = "SUCCESS"
_BILLED_ON_SUCCESS: Final = ("tool_calls", "tool_invocations", "capability_invocations")


@dataclass(frozen=True, slots=True)
class PerUnit:
    """Terms of PER_UNIT; prices are per billable unit, in the catalog's currency.

    A unit costs `prices[value]` for the values of `dimension` named there, else `unit_price` times
    `multipliers[value]` (1 when not named). Without `unit_price`, values not in `prices` are not covered.
    `included` units of a period are free; `overage` says what becomes of more: CHARGE is paid, IGNORE is free
    too, BLOCK is denied by quota checks and paid where it happened all the same. `minimum_charge` is the least
    that a period comes to, used or not.
    `only_success` is the default for executions: SUCCESS weighs 1, any other status 0. With
    `outcome_weights`, SUCCESS weighs 1 unless named and other statuses 0 unless named. Usage that has no
    status always weighs 1.
    """

    unit_price: Decimal | None = None
    dimension: str | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    included: Decimal = ZERO
    overage: str = "CHARGE"
    minimum_charge: Decimal = ZERO
    outcome_weights: Mapping[str, Decimal] = field(default_factory=dict)
    only_success: bool = False

    @property
    def limit(self) -> Decimal | None:
        """The included units, where more is blocked."""
        return self.included if self.overage == "BLOCK" else None

    def weight(self, dimensions: Mapping[str, str]) -> Decimal:
        """Weight of the usage's execution status."""
        status = dimensions.get(_STATUS)
        if status is None or (not self.outcome_weights and not self.only_success):
            return _ONE
        return self.outcome_weights.get(status, _ONE if status == _SUCCESS else ZERO)

    def covers(self, dimensions: Mapping[str, str]) -> bool:
        """Whether the usage's dimension value has a price, or there is one for all values."""
        return self._price_of(self._value(dimensions)) is not None

    def charges(self, price: Price, usage: Sequence[Usage]) -> list[Charge]:
        """One charge per dimension value, and one more for what is missing to the minimum charge."""
        charges = [self._charge(price, value, group) for value, group in by_dimension(usage, self.dimension)]
        missing = self.minimum_charge
        for charge in charges:
            missing = CONTEXT.subtract(missing, charge.amount)
        if missing > 0:
            charges.append(Charge("minimum_charge", price.metric, _ONE, missing, missing, 0, price))
        return charges

    def estimate(self, dimensions: Mapping[str, str], quantity: Decimal) -> Decimal | None:
        """Quantity times the unit price of its dimension value; None when there is none."""
        unit_price = ZERO if self.overage == "IGNORE" else self._price_of(self._value(dimensions))
        return None if unit_price is None else CONTEXT.multiply(quantity, unit_price)

    def parameters(self) -> dict[str, object]:
        """The keys of the catalog file; what has its default is left out."""
        keys: dict[str, object] = {}
        if self.unit_price is not None:
            keys["unit_price"] = plain(self.unit_price)
        if self.dimension is not None:
            keys["dimension"] = self.dimension
        for key in ("prices", "multipliers", "outcome_weights"):
            values: Mapping[str, Decimal] = getattr(self, key)
            if values:
                keys[key] = {name: plain(value) for name, value in values.items()}
        if self.included:
            keys["included"] = plain(self.included)
        if self.overage != "CHARGE":
            keys["overage"] = self.overage
        if self.minimum_charge:
            keys["minimum_charge"] = plain(self.minimum_charge)
        return keys

    def _value(self, dimensions: Mapping[str, str]) -> str | None:
        return dimensions.get(self.dimension) if self.dimension is not None else None

    def _price_of(self, value: str | None) -> Decimal | None:
        if value is None:
            return self.unit_price
        named = self.prices.get(value)
        if named is not None or self.unit_price is None:
            return named
        factor = self.multipliers.get(value)
        return self.unit_price if factor is None else CONTEXT.multiply(self.unit_price, factor)

    def _charge(self, price: Price, value: str | None, usage: list[Usage]) -> Charge:
        quantity, event_count = total_of(usage)
        unit_price = self._price_of(value) or ZERO
        included = quantity if self.overage == "IGNORE" else min(quantity, self.included)
        amount = CONTEXT.multiply(CONTEXT.subtract(quantity, included), unit_price)
        return Charge(price.metric, value, quantity, unit_price, amount, event_count, price, included)


def read(fields: Fields, metric: str) -> PerUnit:
    """The terms of a PER_UNIT price table of the catalog file."""
    terms = PerUnit(
        unit_price=fields.optional_decimal("unit_price"),
        dimension=fields.optional_text("dimension"),
        prices=fields.decimals("prices"),
        multipliers=fields.decimals("multipliers"),
        included=fields.decimal("included"),
        overage=fields.choice("overage", OVERAGES, "CHARGE"),
        minimum_charge=fields.decimal("minimum_charge"),
        outcome_weights=fields.decimals("outcome_weights"),
        only_success=metric.rpartition(".")[2] in _BILLED_ON_SUCCESS,
    )
    if terms.unit_price is None and not terms.prices:
        fields.report("unit_price", "missing; a price per unit needs unit_price, or dimension and prices")
    if terms.unit_price is None and terms.multipliers:
        fields.report("multipliers", "have nothing to multiply; add unit_price")
    if terms.dimension is None and (terms.prices or terms.multipliers):
        fields.report("dimension", "missing; prices and multipliers go by the values of a dimension")
    if terms.prices and terms.multipliers:
        fields.report("multipliers", "given together with prices; name each value's price, or its multiplier")
    if terms.included and terms.dimension is not None:
        fields.report(
            "included",
            "given together with dimension: which value's units are free would be arbitrary; drop one",
        )
    if not terms.included and terms.overage != "CHARGE":
        fields.report("included", f"missing; {terms.overage} begins after the included units")
    return terms
