"""What no plan bills is kept: it is billed once the catalog has the customer, or a plan prices it (again)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.catalog_file import export, parse
from aforo_collector.domain.pricing.per_unit import PerUnit
from aforo_collector.domain.pricing.terms import Price
from aforo_collector.service.rebooking import newly_known
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import readings
from .engine import Engine, body
from .test_corrections import amend, work
from .test_intake_properties import traces
from .test_submission_properties import events, read


def bring_catalog(made: Engine, catalog: Catalog, slices: int) -> None:
    """What applying a catalog does, a few events at a time."""
    before = made.intake.contracts.catalog(made.tenant_no)
    made.store.begin()
    for customer in newly_known(before, catalog):
        made.store.plan_rebooking(made.tenant_no, customer)
    made.store.commit(made.policy)
    made.catalog = catalog
    made.intake.contracts.use(made.tenant_no, catalog)
    while True:
        made.store.begin()
        found = made.store.rebooking(made.tenant_no, slices)
        if found is not None:
            for number in found[1]:
                made.intake.rebook(made.tenant_no, number, made.now_ns)
            made.store.rebooked(found[0], found[1][-1] + 1 if found[1] else None)
        made.store.commit(made.policy)
        if found is None:
            return
        made.restart()


def told(made: Engine) -> Any:
    """What users read, without what says that something was booked twice."""
    return json.loads(read(made))


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_customer_that_comes_later_is_billed_as_if_it_had_been_there(data: st.DataObject) -> None:
    """Usage before the catalog knows its customer, and after, reads the same once the catalog is applied."""
    catalog = readings.catalog()
    nobody = replace(catalog, customers=(), recorded_metrics=())
    catalog = replace(catalog, recorded_metrics=())
    early, late = data.draw(events()), data.draw(events())
    late = [{**event, "idempotencyKey": f"late {event['idempotencyKey']}"} for event in late]
    spans = data.draw(st.one_of(st.just([]), traces()))
    brought: list[Any] = [body([span]) for span in spans]
    with readings.engine(catalog) as made:
        made.bring(*brought, made.submission(*early))
        made.submit(*late)
        expected = told(made)

    with readings.engine(nobody) as made:
        made.bring(*brought, made.submission(*early))
        bring_catalog(made, catalog, data.draw(st.integers(1, 7)))
        made.submit(*late)
        got = told(made)

    assert got == expected


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_plan_that_asks_for_more_bills_as_if_it_always_had(data: st.DataObject) -> None:
    """Usage of before counts under the metrics, and by the fields, that a plan comes to price in a period."""
    catalog = replace(readings.catalog(), recorded_metrics=())
    before = replace(catalog, rate_plans=tuple(
        replace(plan, prices=tuple(
            _by_another_field(price) for price in plan.prices if data.draw(st.booleans(), label=price.metric)
        ))
        for plan in catalog.rate_plans
    ))  # fmt: skip
    found = data.draw(events())
    brought: list[Any] = [body([span]) for span in data.draw(st.one_of(st.just([]), traces()))]
    with readings.engine(catalog) as made:
        made.bring(*brought, made.submission(*found))
        expected = told(made)

    with readings.engine(before) as made:
        made.bring(*brought, made.submission(*found))
        bring_catalog(made, catalog, data.draw(st.integers(1, 7)))
        got = told(made)

    assert got == expected


def _by_another_field(price: Price) -> Price:
    """The same price, by another field of the events than theirs."""
    if isinstance(price.terms, PerUnit) and price.terms.dimension == "size":
        return replace(price, terms=replace(price.terms, dimension="toolName"))
    return price


def right_catalog() -> Catalog:
    """That of the readings, with a product of another type beside, which comes first."""
    document: Any = export(replace(readings.catalog(), recorded_metrics=()))
    document["rate_plans"].append({"code": "calls"})
    document["products"].append({"code": "calls", "type": "API", "rate_plan": "calls"})
    document["customers"][0]["products"].append("calls")
    return parse(document)


def wrong_catalogs() -> list[Catalog]:
    """Ways in which the plan of a customer can be wrong for a while."""
    document: Any = export(right_catalog())
    plan, calls = document["rate_plans"][0], document["rate_plans"][2]
    calls["prices"] = [price for price in plan["prices"] if price["metric"] == "pages"]
    other_product = parse(document)
    calls["prices"] = []
    prices = plan["prices"]
    plan["prices"] = []
    without_prices = parse(document)
    plan["prices"] = [
        {**price, "dimension": "region"} if price["metric"] == "pages" else price for price in prices
    ]
    other_dimension = parse(document)
    plan["prices"] = prices
    document["products"][1]["rate_plan"] = "pro"
    other_plan = parse(document)
    return [without_prices, other_dimension, other_plan, other_product]


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_edit_that_is_undone_leaves_no_trace_on_the_bill(data: st.DataObject) -> None:
    """Usage that came while a plan lacked a price, had another dimension, or was another product's reads as if not."""
    right = right_catalog()
    wrong = data.draw(st.sampled_from(wrong_catalogs()))
    early, late = data.draw(events()), data.draw(events())
    late = [{**event, "idempotencyKey": f"late {event['idempotencyKey']}"} for event in late]
    spans = data.draw(st.one_of(st.just([]), traces()))
    brought: list[Any] = [body([span]) for span in spans]
    with readings.engine(right) as made:
        made.submit(*early)
        made.bring(*brought, made.submission(*late))
        expected = told(made)

    with readings.engine(right) as made:
        made.submit(*early)
        bring_catalog(made, wrong, 7)
        made.bring(*brought, made.submission(*late))
        bring_catalog(made, right, data.draw(st.integers(1, 7)))
        got = told(made)

    assert got == expected


def test_a_value_outlives_its_unit() -> None:
    """What a unit kept of an event is there when the unit comes back, though the event was booked again meanwhile."""

    def sells(product: str, units: list[str]) -> Catalog:
        return parse({
            "billable_units": [{"name": name, "aggregation": "AVG", "event_field": "ms"} for name in units],
            "rate_plans": [{
                "code": "pro", "prices": [{"metric": name, "model": "PER_UNIT", "unit_price": "1"} for name in units],
            }],
            "products": [{"code": "it", "type": product, "rate_plan": "pro"}],
            "customers": [{"id": "acme", "products": ["it"]}],
        })  # fmt: skip

    with readings.engine(sells("API", ["latency"])) as made:
        made.submit({"customerId": "acme", "metricName": "latency", "quantity": 5, "metadata": {"ms": 7}})
        bring_catalog(made, sells("AGENTIC_API", []), 7)
        bring_catalog(made, sells("AGENTIC_API", ["latency"]), 7)
        bill = readings.reading(made).invoice_preview(made.tenant_no, "acme")

    assert bill is not None
    assert [(line["quantity"], line["eventCount"]) for line in bill["lines"]] == [("7", 1)]


def test_what_left_a_session_that_is_gone_holds_up_no_catalog() -> None:
    """An event that was amended out of its session, which it took with it, is looked at where it is now."""
    catalog = readings.catalog()
    with readings.engine(replace(catalog, customers=())) as made:
        event = {"customerId": "acme", "metricName": "pages", "quantity": 1, "idempotencyKey": "k"}
        made.submit(event | {"sessionId": "s-1", "metadata": {"model": "mystery", "input_tokens": 5}})
        [(first_no,)] = made.query("SELECT min(event_no) FROM usage_events")
        assert amend(made, "k", sessionId="s-2")
        bring_catalog(made, catalog, 7)
        assert not work(made, lambda now_ns: made.intake.reprice(made.tenant_no, first_no, now_ns))
        listed = readings.reading(made).usage_events(made.tenant_no, metric_name="pages")["items"]

    assert [(view["sessionId"], view["productType"]) for view in listed] == [("s-2", "AGENTIC_API")]


def test_a_condition_that_comes_later_takes_nothing_off_the_bill() -> None:
    """What was billed stays so when it is booked again, however it was recorded."""

    def sells(conditions: list[Any], dimension: str) -> Catalog:
        price = {"metric": "pages", "model": "PER_UNIT", "unit_price": "1", "dimension": dimension}
        return parse({
            "billable_units": [{"name": "pages", "filter": conditions}],
            "rate_plans": [{"code": "pro", "prices": [price]}],
            "products": [{"code": "it", "type": "AGENTIC_API", "rate_plan": "pro"}],
            "customers": [{"id": "acme", "products": ["it"]}],
        })  # fmt: skip

    with readings.engine(sells([], "size")) as made:
        made.submit(
            {"customerId": "acme", "metricName": "pages", "quantity": 2, "metadata": {"region": "eu"}}
        )
        made.send(body([readings.recorded(1, "pages", "3", '{"region": "eu"}', **readings.ACME)]))
        only_us = [{"field": "region", "operator": "EQUALS", "value": "us"}]
        bring_catalog(made, sells(only_us, "region"), 7)
        bill = readings.reading(made).invoice_preview(made.tenant_no, "acme")

    assert bill is not None
    assert [(line["dimension"], line["quantity"]) for line in bill["lines"]] == [("eu", "5")]
