"""From usage to charges, and what one event earns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from aforo_collector.domain.aggregation import AGGREGATIONS
from aforo_collector.domain.money import CONTEXT
from aforo_collector.domain.pricing.terms import Usage
from aforo_collector.domain.rating import Unrated, billable, bills, estimate, rate
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.catalogs import TOOLS, plan_of, price_tables, sampled, usages, used

PER_TOOL = {
    "metric": TOOLS,
    "model": "PER_UNIT",
    "dimension": "toolName",
    "prices": {"lookup": "0.001", "db_write": "0.05"},
}


def total(amounts: Sequence[Decimal]) -> Decimal:
    """Exact sum."""
    result = Decimal(0)
    for amount in amounts:
        result = CONTEXT.add(result, amount)
    return result


@given(price_tables(), usages, st.randoms(use_true_random=False))
def test_rating_does_not_depend_on_the_order_of_usage(
    tables: list[dict[str, object]], usage: list[Usage], rng: object
) -> None:
    """Any permutation of the usage, and any way of summing it up beforehand, must give the same charges."""
    plan = plan_of(*tables)
    expected = rate(plan, usage)
    shuffled = list(usage)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert rate(plan, shuffled) == expected
    merged: dict[object, Usage] = {}
    for entry in shuffled:
        key = (entry.metric, *sorted(entry.dimensions.items()))
        before = merged.get(key, replace(entry, quantity=Decimal(0), event_count=0))
        merged[key] = replace(
            entry,
            quantity=before.quantity + entry.quantity,
            event_count=before.event_count + entry.event_count,
        )
    assert rate(plan, merged.values()) == expected


@given(price_tables(), usages)
def test_a_charge_is_its_quantity_times_its_unit_price(
    tables: list[dict[str, object]], usage: list[Usage]
) -> None:
    """On every charge, (quantity - included) x unit price must be the amount, to the last digit."""
    for charge in rate(plan_of(*tables), usage).charges:
        assert charge.amount >= 0
        assert 0 <= charge.included <= charge.quantity
        assert CONTEXT.multiply(charge.quantity - charge.included, charge.unit_price) == charge.amount


@given(price_tables(), usages)
def test_every_event_is_billed_once_or_unrated_or_of_no_weight(
    tables: list[dict[str, object]], usage: list[Usage]
) -> None:
    """No usage may get lost: an entry must belong to exactly one charge, be unrated, or weigh nothing."""
    plan = plan_of(*tables)
    rated = rate(plan, usage)
    for entry in usage:
        price = plan.price_of(entry.metric)
        weightless = price is not None and not price.terms.weight(entry.dimensions)
        charged = sum(bills(charge, entry.metric, entry.dimensions) for charge in rated.charges)
        unrated = price is None or not price.terms.covers(entry.dimensions)
        assert charged == (0 if weightless or unrated else 1)
    for charge in rated.charges:
        assert charge.event_count == sum(
            entry.event_count for entry in usage if bills(charge, entry.metric, entry.dimensions)
        )


@given(price_tables(), usages)
def test_estimates_of_events_sum_up_to_the_charges(
    tables: list[dict[str, object]], usage: list[Usage]
) -> None:
    """Where no included units, minimum or flat fee interfere, the events' revenue must be the charges."""
    plain = [
        {key: value for key, value in table.items() if key not in {"included", "overage", "minimum_charge"}}
        for table in tables
        if table["model"] != "FLAT_RATE"
    ]
    plan = plan_of(*plain)
    estimates = [estimate(plan, entry.metric, entry.dimensions, entry.quantity) for entry in usage]
    charged = [charge.amount for charge in rate(plan, usage).charges]
    assert total([amount for amount in estimates if amount is not None]) == total(charged)


def test_a_price_with_a_dimension_gives_a_line_per_value() -> None:
    """Lines must be sorted by value, the one without a value first, at the price that each value names."""
    plan = plan_of({**PER_TOOL, "unit_price": "0.002"})
    usage = [used(TOOLS, "2", toolName="other"), used(TOOLS, "3", toolName="db_write"), used(TOOLS, "5")]
    usage.append(used(TOOLS, "1", toolName=""))
    charges = rate(plan, usage).charges
    assert rate(plan, usage[::-1]).charges == charges
    assert [(charge.dimension, charge.quantity, charge.unit_price) for charge in charges] == [
        (None, 5, Decimal("0.002")),
        ("", 1, Decimal("0.002")),
        ("db_write", 3, Decimal("0.05")),
        ("other", 2, Decimal("0.002")),
    ]
    assert all(charge.price is plan.prices[0] for charge in charges)


def test_a_value_that_no_price_names_is_unrated_not_free() -> None:
    """Without a unit price for all values, an unnamed value must be reported and never cost $0."""
    plan = plan_of(PER_TOOL)
    usage = [
        used(TOOLS, "2", 2, toolName="other"),
        used(TOOLS, "1", toolName="lookup"),
        used("steps", "4", 4),
    ]
    rated = rate(plan, usage)
    assert [charge.dimension for charge in rated.charges] == ["lookup"]
    assert rated.unrated == (
        Unrated("agentic_api.tool_calls", "other", Decimal(2), 2),
        Unrated("steps", None, Decimal(4), 4),
    )
    assert estimate(plan, TOOLS, {"toolName": "other"}, Decimal(1)) is None
    assert rate(None, usage).unrated == (
        Unrated(TOOLS, None, Decimal(3), 3),
        Unrated("steps", None, Decimal(4), 4),
    )


def test_a_multiplier_changes_the_unit_price_and_not_the_quantity() -> None:
    """The line must show what was used, at the price that the value really has."""
    plan = plan_of(
        {
            "metric": "calls",
            "model": "PER_UNIT",
            "unit_price": "0.5",
            "dimension": "op",
            "multipliers": {"sum": "2.5"},
        }
    )
    charges = rate(plan, [used("calls", "4", op="sum"), used("calls", "4", op="get")]).charges
    assert [(charge.quantity, charge.unit_price, charge.amount) for charge in charges] == [
        (4, Decimal("0.5"), 2),
        (4, Decimal("1.25"), 5),
    ]


@pytest.mark.parametrize(
    ("metric", "weights", "expected"),
    [
        (TOOLS, {}, {"SUCCESS": 1, "ERROR": 0, "PARTIAL": 0, None: 1}),
        ("mcp_server.tool_invocations", {}, {"SUCCESS": 1, "TIMEOUT": 0, None: 1}),
        ("ai_agent.capability_invocations", {}, {"SUCCESS": 1, "CANCELLED": 0, None: 1}),
        ("calls", {}, {"SUCCESS": 1, "ERROR": 1, None: 1}),
        (TOOLS, {"PARTIAL": "0.5"}, {"SUCCESS": 1, "ERROR": 0, "PARTIAL": "0.5", None: 1}),
        ("calls", {"PARTIAL": "0.5"}, {"SUCCESS": 1, "ERROR": 0, "PARTIAL": "0.5", None: 1}),
        (TOOLS, {"SUCCESS": "0", "ERROR": "1"}, {"SUCCESS": 0, "ERROR": 1, None: 1}),
    ],
)
def test_executions_bill_by_their_outcome(
    metric: str, weights: dict[str, str], expected: dict[str | None, int | str]
) -> None:
    """Executions must bill on success only unless weights say otherwise, other metrics in full, no status in
    full.
    """
    plan = plan_of({"metric": metric, "model": "PER_UNIT", "unit_price": "1", "outcome_weights": weights})
    for status, weight in expected.items():
        dimensions = {} if status is None else {"executionStatus": status}
        charges = rate(plan, [Usage(metric, dimensions, Decimal(10), 3)]).charges
        assert estimate(plan, metric, dimensions, Decimal(10)) == 10 * Decimal(weight)
        if Decimal(weight):
            assert [(charge.quantity, charge.event_count) for charge in charges] == [
                (10 * Decimal(weight), 3)
            ]
        else:
            assert not charges


def test_a_count_bills_events_and_not_their_quantity() -> None:
    """A unit aggregated by COUNT must bill one per event, on the invoice and in the estimate."""
    plan = plan_of({"metric": "counted", "model": "PER_UNIT", "unit_price": "2"})
    (charge,) = rate(plan, [used("counted", "500", 3)]).charges
    assert (charge.quantity, charge.amount) == (3, 6)
    assert estimate(plan, "counted", {}, Decimal(500)) == 2


def test_included_units_are_free_and_shown() -> None:
    """A line must show all that was used and how much of it was included."""
    plan = plan_of({"metric": "calls", "model": "PER_UNIT", "unit_price": "0.001", "included": "1000"})
    (charge,) = rate(plan, [used("calls", "900"), used("calls", "600")]).charges
    assert (charge.quantity, charge.included, charge.amount) == (1500, 1000, Decimal("0.5"))
    (charge,) = rate(plan, [used("calls", "900")]).charges
    assert (charge.quantity, charge.included, charge.amount) == (900, 900, 0)
    assert estimate(plan, "calls", {}, Decimal(2)) == Decimal("0.002")


def test_a_prices_minimum_is_topped_up_even_without_usage() -> None:
    """What is missing to the minimum must be a charge of its own, for all dimension values together."""
    plan = plan_of({**PER_TOOL, "minimum_charge": "1"})
    for usage, missing in (([], "1"), ([used(TOOLS, "5", toolName="db_write")], "0.75")):
        charge = rate(plan, usage).charges[-1]
        assert (charge.metric, charge.dimension, charge.amount) == ("minimum_charge", TOOLS, Decimal(missing))
    assert len(rate(plan, [used(TOOLS, "20", toolName="db_write")]).charges) == 1


def test_a_flat_rate_is_charged_once_whatever_is_used() -> None:
    """The fee must be there without usage, once with much of it, and be no single event's revenue."""
    plan = plan_of({"metric": "calls", "model": "FLAT_RATE", "base_fee": "99"})
    for usage in ([], [used("calls", "5")], [used("calls", "5"), used("calls", "9")]):
        (charge,) = rate(plan, usage).charges
        assert (charge.quantity, charge.amount, charge.event_count) == (1, 99, len(usage))
    assert estimate(plan, "calls", {}, Decimal(1)) is None


def test_costs_pass_through_with_their_markup() -> None:
    """The line must show the cost as quantity and 1 + markup as unit price, split by model when asked."""
    cost = "agentic_api.provider_cost"
    usage = [used(cost, "0.0375", model="b"), used(cost, "0.01", model="a", executionStatus="ERROR")]
    (charge,) = rate(plan_of({"metric": cost, "model": "COST_PLUS", "markup": "0.2"}), usage).charges
    assert (charge.quantity, charge.unit_price, charge.amount) == (
        Decimal("0.0475"),
        Decimal("1.2"),
        Decimal("0.057"),
    )
    plan = plan_of({"metric": cost, "model": "COST_PLUS", "markup": "0.2", "dimension": "model"})
    charges = rate(plan, usage).charges
    assert [(charge.dimension, charge.amount) for charge in charges] == [
        ("a", Decimal("0.012")),
        ("b", Decimal("0.045")),
    ]
    assert estimate(plan, cost, {"model": "b"}, Decimal("0.0375")) == Decimal("0.045")


@pytest.mark.parametrize(
    ("aggregation", "everywhere", "by_region"),
    [
        ("SUM", "14.5", {"eu": "6.5", "us": "8"}),
        ("MAX", "8", {"eu": "4", "us": "8"}),
        ("MIN", "1", {"eu": "1", "us": "8"}),
        ("AVG", "3.625", {"eu": "2.166666666667", "us": "8"}),
        ("COUNT_DISTINCT", "4", {"eu": "3", "us": "1"}),
        ("PERCENTILE_50", "1.5", {"eu": "1.5", "us": "8"}),
    ],
)
def test_values_are_put_together_before_they_are_priced(
    aggregation: str, everywhere: str, by_region: dict[str, str]
) -> None:
    """A line has the number of all its events, one line for each value of the dimension; failures weigh nothing."""
    usage = [
        sampled(aggregation, "1", "4", region="eu", executionStatus="SUCCESS"),
        sampled(aggregation, "1.5", region="eu"),
        sampled(aggregation, "8", region="us"),
        sampled(aggregation, "99", region="us", executionStatus="ERROR"),
    ]
    price = {
        "metric": aggregation,
        "model": "PER_UNIT",
        "unit_price": "2",
        "outcome_weights": {"SUCCESS": "1"},
    }
    (charge,) = rate(plan_of(price), usage).charges
    assert (charge.quantity, charge.amount) == (Decimal(everywhere), 2 * Decimal(everywhere))
    assert charge.event_count == 4
    charges = rate(plan_of({**price, "dimension": "region"}), usage[::-1]).charges
    assert {charge.dimension: charge.quantity for charge in charges} == {
        region: Decimal(quantity) for region, quantity in by_region.items()
    }
    assert [charge.event_count for charge in charges] == [3, 1]
    assert rate(None, usage[:3]).unrated == (Unrated(aggregation, None, Decimal(everywhere), 4),)


def test_what_does_not_add_up_earns_nothing_before_the_period_ends() -> None:
    """A sum and a count have an estimate by event, a failure earns 0, and no other aggregation says anything."""
    for aggregation in AGGREGATIONS:
        price = {
            "metric": aggregation,
            "model": "PER_UNIT",
            "unit_price": "2",
            "outcome_weights": {"SUCCESS": "1"},
        }
        plan = plan_of(price)
        earned = {"SUM": 14, "COUNT": 2}.get(aggregation)
        assert estimate(plan, aggregation, {}, Decimal(7)) == earned
        assert estimate(plan, aggregation, {"executionStatus": "ERROR"}, Decimal(7)) == 0


@pytest.mark.parametrize(
    ("overage", "included", "amount"), [("CHARGE", 10, 5), ("BLOCK", 10, 5), ("IGNORE", 15, 0)]
)
def test_usage_beyond_what_is_included_is_paid_unless_it_is_ignored(
    overage: str, included: int, amount: int
) -> None:
    """A block is a matter of quota checks: what was used all the same is on the bill."""
    price = {"metric": "calls", "model": "PER_UNIT", "unit_price": "1", "included": "10", "overage": overage}
    plan = plan_of(price)
    (charge,) = rate(plan, [used("calls", "15")]).charges
    assert (charge.quantity, charge.included, charge.amount) == (15, included, amount)
    assert estimate(plan, "calls", {}, Decimal(2)) == (0 if overage == "IGNORE" else 2)


@given(st.lists(st.sampled_from(["SUCCESS", "PARTIAL", "ERROR"])), st.integers(0, 30))
def test_what_counts_toward_a_quota_is_what_the_invoice_counts(statuses: list[str], quantity: int) -> None:
    """The quantity of a price's usage is that of its line, outcome weights and all."""
    plan = plan_of({
        "metric": "calls", "model": "PER_UNIT", "unit_price": "1", "included": "10", "overage": "BLOCK",
        "outcome_weights": {"PARTIAL": "0.5"},
    })  # fmt: skip
    usage = [used("calls", str(quantity), executionStatus=status) for status in statuses]
    counted = sum((entry.quantity for entry in billable(plan.prices[0], usage)), Decimal(0))
    assert counted == sum((charge.quantity for charge in rate(plan, usage).charges), Decimal(0))
