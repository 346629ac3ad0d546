"""The invoice: charges rounded once, line by line, and a rounding line that makes them add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from aforo_collector.domain.catalog import RatePlan
from aforo_collector.domain.money import CONTEXT, ZERO, plain, round_line
from aforo_collector.domain.pricing.terms import Charge, Usage
from aforo_collector.domain.rating import Unrated, rate

__all__ = ["BASE_FEE", "MINIMUM_CHARGE", "Invoice", "InvoiceLine", "build", "to_wire"]

BASE_FEE: Final = "base_fee"
"""Metric name of the line for a plan's fee per period."""

MINIMUM_CHARGE: Final = "minimum_charge"
"""Metric name of the line that tops up a plan (dimension None) or a price (dimension = its metric)."""

_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """A charge as the customer sees it: `amount` is rounded, `charge` keeps the exact one and the price."""

    plan: str
    charge: Charge
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a customer owes for [start, end): subtotal = sum of the rounded lines, subtotal + rounding =
    total.
    """

    customer_id: str
    currency: str
    start: datetime
    end: datetime
    lines: tuple[InvoiceLine, ...]
    unrated: tuple[Unrated, ...]
    subtotal: Decimal
    rounding: Decimal
    total: Decimal


def build(
    customer_id: str,
    currency: str,
    start: datetime,
    end: datetime,
    plans: Iterable[tuple[RatePlan | None, Sequence[Usage]]],
) -> Invoice:
    """The invoice of a period from each plan with the usage it bills; usage without a plan (None) is unrated.

    `start` and `end` are aware datetimes. The same usage in any order gives the same invoice. A plan's
    minimum charge is compared with all that the plan charges, its base fee included.
    """
    lines: list[InvoiceLine] = []
    unrated: list[Unrated] = []
    exact = ZERO
    for plan, usage in plans:
        rated = rate(plan, usage)
        unrated += rated.unrated
        if plan is None:
            continue
        for charge in _with_plan_charges(plan, rated.charges):
            lines.append(InvoiceLine(plan.code, charge, round_line(charge.amount, currency)))
            exact = CONTEXT.add(exact, charge.amount)
    subtotal = round_line(_sum(line.amount for line in lines), currency)
    total = round_line(exact, currency)
    return Invoice(
        customer_id=customer_id,
        currency=currency,
        start=start,
        end=end,
        lines=tuple(sorted(lines, key=_line_order)),
        unrated=tuple(sorted(unrated, key=_unrated_order)),
        subtotal=subtotal,
        rounding=CONTEXT.subtract(total, subtotal),
        total=total,
    )


def to_wire(invoice: Invoice) -> dict[str, object]:
    """The invoice as the reading endpoints give it (surfaces section 3): money and quantities as decimal
    text.
    """
    return {
        "customerId": invoice.customer_id,
        "currency": invoice.currency,
        "from": _rfc3339(invoice.start),
        "to": _rfc3339(invoice.end),
        "lines": [_line_to_wire(line) for line in invoice.lines],
        "unrated": [
            {
                "metricName": entry.metric,
                "dimension": entry.dimension,
                "quantity": plain(entry.quantity),
                "eventCount": entry.event_count,
            }
            for entry in invoice.unrated
        ],
        "subtotal": str(invoice.subtotal),
        "rounding": str(invoice.rounding),
        "total": str(invoice.total),
    }


def _with_plan_charges(plan: RatePlan, charges: Sequence[Charge]) -> list[Charge]:
    """The charges of the prices, then the plan's base fee, then what is missing to its minimum charge."""
    every = list(charges)
    if plan.base_fee:
        every.append(Charge(BASE_FEE, None, _ONE, plan.base_fee, plan.base_fee, 0))
    missing = CONTEXT.subtract(plan.minimum_charge, _sum(charge.amount for charge in every))
    if missing > 0:
        every.append(Charge(MINIMUM_CHARGE, None, _ONE, missing, missing, 0))
    return every


def _line_to_wire(line: InvoiceLine) -> dict[str, object]:
    charge = line.charge
    wire: dict[str, object] = {
        "metricName": charge.metric,
        "dimension": charge.dimension,
        "quantity": plain(charge.quantity),
        "unitPrice": plain(charge.unit_price),
        "amount": str(line.amount),
        "amountUnrounded": plain(charge.amount),
        "eventCount": charge.event_count,
        "ratePlan": line.plan,
    }
    if charge.included:
        wire["includedQuantity"] = plain(charge.included)
    return wire


def _line_order(line: InvoiceLine) -> tuple[str, bool, str, str, Decimal]:
    charge = line.charge
    return charge.metric, charge.dimension is not None, charge.dimension or "", line.plan, charge.amount


def _unrated_order(entry: Unrated) -> tuple[str, bool, str, Decimal]:
    return entry.metric, entry.dimension is not None, entry.dimension or "", entry.quantity


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for amount in amounts:
        total = CONTEXT.add(total, amount)
    return total


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
