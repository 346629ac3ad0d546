"""Invoices add up, to the cent and to the last digit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from aforo_collector.domain.catalog import RatePlan
from aforo_collector.domain.invoice import Invoice, build, to_wire
from aforo_collector.domain.money import CONTEXT, decimal_of, minor_units, round_line
from aforo_collector.domain.pricing.terms import Usage
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.catalogs import TOOLS, decimals, plan_of, price_tables, usages, used

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def invoice_of(plan: RatePlan | None, usage: list[Usage], currency: str = "USD") -> Invoice:
    """The invoice of November for one plan."""
    return build("acme", currency, START, END, [(plan, usage)])


@given(price_tables(), usages, decimals, decimals, st.sampled_from(["USD", "JPY", "KWD"]))
def test_lines_and_rounding_make_the_total(
    tables: list[dict[str, object]], usage: list[Usage], base_fee: str, minimum: str, currency: str
) -> None:
    """Sum of rounded lines + rounding = total = the rounded exact sum; each line is rounded from its own
    charge.
    """
    invoice = invoice_of(plan_of(*tables, base_fee=base_fee, minimum_charge=minimum), usage, currency)
    exact = Decimal(0)
    for line in invoice.lines:
        assert line.amount == round_line(line.charge.amount, currency)
        exact = CONTEXT.add(exact, line.charge.amount)
    assert sum((line.amount for line in invoice.lines), Decimal(0)) == invoice.subtotal
    assert invoice.subtotal + invoice.rounding == invoice.total == round_line(exact, currency)
    assert exact >= decimal_of(minimum)
    assert abs(invoice.rounding) <= len(invoice.lines) * Decimal(1).scaleb(-minor_units(currency))


@given(price_tables(), usages, decimals, st.randoms(use_true_random=False))
def test_the_same_usage_in_any_order_is_the_same_invoice(
    tables: list[dict[str, object]], usage: list[Usage], minimum: str, rng: object
) -> None:
    """The invoice's text must be the same byte for byte, whatever the order of usage, prices and plans."""
    plans = [(plan_of(*tables, minimum_charge=minimum), usage), (None, usage), (plan_of(base_fee="1"), [])]
    expected = json.dumps(to_wire(build("acme", "USD", START, END, plans)))
    shuffled = [(plan_of(*tables[::-1], minimum_charge=minimum), list(usage)), plans[2], plans[1]]
    rng.shuffle(shuffled[0][1])  # type: ignore[attr-defined]
    assert json.dumps(to_wire(build("acme", "USD", START, END, shuffled))) == expected


def test_the_wire_shows_every_amount_as_text() -> None:
    """The documented keys must be there, decimals as text, times in UTC, no $0 for what has no price."""
    plan = plan_of(
        {"metric": TOOLS, "model": "PER_UNIT", "dimension": "toolName", "prices": {"db": "0.05"}},
        {"metric": "calls", "model": "PER_UNIT", "unit_price": "0.001", "included": "1000"},
        base_fee="10",
        minimum_charge="12",
    )
    usage = [
        used(TOOLS, "3", 3, toolName="db", executionStatus="SUCCESS"),
        used(TOOLS, "9", 9, toolName="db", executionStatus="ERROR"),
        used("calls", "1003", 7),
        used("unpriced", "2.50", 2),
    ]
    zone = timezone(timedelta(hours=2))
    invoice = build("acme", "USD", START.astimezone(zone), END.astimezone(zone), [(plan, usage)])
    wire = to_wire(invoice)
    rows = [
        (TOOLS, "db", "3", "0.05", "0.15", "0.15", 3),
        ("base_fee", None, "1", "10", "10.00", "10", 0),
        ("calls", None, "1003", "0.001", "0.00", "0.003", 7),
        ("minimum_charge", None, "1", "1.847", "1.85", "1.847", 0),
    ]
    keys = ("metricName", "dimension", "quantity", "unitPrice", "amount", "amountUnrounded", "eventCount")
    lines = [{**dict(zip(keys, row, strict=True)), "ratePlan": "plan"} for row in rows]
    lines[2]["includedQuantity"] = "1000"
    assert wire.pop("lines") == lines
    assert wire == {
        "customerId": "acme",
        "currency": "USD",
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-12-01T00:00:00Z",
        "unrated": [{"metricName": "unpriced", "dimension": None, "quantity": "2.5", "eventCount": 2}],
        "subtotal": "12.00",
        "rounding": "0.00",
        "total": "12.00",
    }


def test_rounding_stands_on_the_invoice_and_is_not_lost() -> None:
    """Three lines of half a cent must total one and a half cents rounded once, with the difference shown."""
    plan = plan_of({"metric": "calls", "model": "PER_UNIT", "unit_price": "0.005", "dimension": "op"})
    wire = to_wire(invoice_of(plan, [used("calls", "1", op=op) for op in "abc"]))
    assert (wire["subtotal"], wire["rounding"], wire["total"]) == ("0.00", "0.02", "0.02")


@pytest.mark.parametrize(("plan_fee", "price"), [("99", {}), ("0", {"base_fee": "99"})])
def test_a_flat_rate_costs_its_fee_once_wherever_it_is_written(plan_fee: str, price: dict[str, str]) -> None:
    """The fee of the plan and the fee of the price must both come to 99, never to twice that."""
    plan = plan_of({"metric": "calls", "model": "FLAT_RATE", **price}, base_fee=plan_fee)
    invoice = invoice_of(plan, [used("calls", "12345", 5)])
    assert str(invoice.total) == "99.00"
    assert not invoice.unrated


def test_without_a_plan_nothing_is_charged_and_everything_is_shown() -> None:
    """Usage of a customer without a plan must be listed as unrated on an invoice of zero."""
    wire = to_wire(invoice_of(None, [used("calls", "5")]))
    assert wire["lines"] == []
    assert wire["unrated"] == [{"metricName": "calls", "dimension": None, "quantity": "5", "eventCount": 1}]
    assert wire["total"] == "0.00"
