"""Units that go by the values of their events: the invoice is what a slow count over the raw events says."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from aforo_collector.domain.aggregation import AGGREGATIONS
from aforo_collector.domain.catalog_file import export, parse
from aforo_collector.domain.money import plain
from aforo_collector.service.checking import check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.domain.test_aggregation import expected

from . import readings
from .engine import NOW_NS, Engine, body, span
from .readings import HOUR_NS, every, recorded

NOW = datetime.fromtimestamp(NOW_NS // 10**9, UTC)
BY_REGION = ("MAX", "COUNT_DISTINCT", "PERCENTILE_90", "SUM")
CUSTOMERS = ("acme", "globex")
CATALOG = parse({
    "billable_units": [{"name": name, "aggregation": name, "event_field": "n_x"} for name in AGGREGATIONS],
    "rate_plans": [{
        "code": "pro",
        "prices": [
            {
                "metric": name, "model": "PER_UNIT", "unit_price": "2",
                "outcome_weights": {"PARTIAL": "1"},
                **({"dimension": "region"} if name in BY_REGION else {}),
            }
            for name in AGGREGATIONS
        ],
    }],
    "products": [{"code": "research", "type": "AGENTIC_API", "rate_plan": "pro"}],
    "customers": [{"id": customer, "products": ["research"]} for customer in CUSTOMERS],
})  # fmt: skip
VALUES = (0, 3, 3, Decimal("2.50"), "2.5", "x", "", None, True, -1, Decimal("0.1"), 700, {"a": 1})


def metadata_of(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """What an event says of itself."""
    said = {draw(st.sampled_from(("n_x", "nX"))): draw(values)}
    if draw(st.booleans()):
        said["region"] = draw(st.sampled_from(("eu", "us")))
    if draw(st.booleans()):
        said["executionStatus"] = draw(st.sampled_from(("SUCCESS", "PARTIAL", "ERROR")))
    return said


@st.composite
def usage(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events that are submitted, and hand-recorded spans whose customer may stand on a span above them."""
    metrics = st.sampled_from(draw(st.lists(st.sampled_from(AGGREGATIONS), min_size=1, max_size=2)))
    values = st.sampled_from(draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4)))
    quantities = st.sampled_from((0, 1, 4, Decimal("0.5")))
    found: list[dict[str, Any]] = [
        span(number, name="agent", start_s=-9_000, aforo__customer__id=customer)
        for number, customer in enumerate(CUSTOMERS, 1)
    ]
    for number in range(3, draw(st.integers(4, 20))):
        said = metadata_of(draw, values)
        at_s = 1800 * draw(st.integers(-5, 1))  # so coarse that periods begin and end with events
        if draw(st.booleans()):
            own = {"aforo__customer__id": draw(st.sampled_from(CUSTOMERS))} if draw(st.booleans()) else {}
            own |= {"aforo__agent__id": "a-1"} if draw(st.booleans()) else {}
            own |= {"aforo__product__type": "AI_AGENT"} if draw(st.integers(0, 4)) == 0 else {}
            text = json.dumps(said, default=lambda value: f"@{value}@").replace('"@', "").replace('@"', "")
            found.append(
                recorded(
                    number, draw(metrics), str(draw(quantities)), text, start_s=at_s, seconds=0,
                    parent_id=draw(st.sampled_from((1, 2))), **own,
                )
            )  # fmt: skip
        else:
            top = {"nX": said.pop("nX")} if "nX" in said and draw(st.booleans()) else {}
            found.append({
                "customerId": draw(st.sampled_from(CUSTOMERS)), "metricName": draw(metrics),
                "quantity": draw(quantities), "occurredAt": NOW_NS // 10**9 - 3600 + at_s,
                "idempotencyKey": f"key-{number}", "metadata": said, **top,
                **({"agentId": "a-2"} if draw(st.booleans()) else {}),
                **({"productType": "AI_AGENT"} if draw(st.integers(0, 4)) == 0 else {}),
            })  # fmt: skip
    return found


def send(made: Engine, sent: list[dict[str, Any]], data: st.DataObject) -> None:
    """Deliver in transactions of any size, some of which fail first, with restarts between; void some events."""
    while sent:
        size = data.draw(st.integers(1, 6))
        some = [made.submission(one) if "metricName" in one else body([one]) for one in sent[:size]]
        if data.draw(st.booleans()):
            made.fail(*some)
        made.bring(*some)
        if data.draw(st.booleans()):
            made.restart()
        sent = sent[size:]
    bookings = made.intake.bookings
    for (event_no,) in made.query("SELECT event_no FROM submitted WHERE part = 0"):
        if data.draw(st.integers(0, 4)) == 0:
            made.store.begin()
            bookings.take_back(made.tenant_no, bookings.recall(event_no), made.now_ns)
            made.store.commit(made.policy)


def number_said(event: dict[str, Any]) -> Any:
    """What an event says under the unit's field, the metadata first."""
    for said in (event["metadata"], event):
        for name in ("n_x", "nX"):
            if isinstance(said.get(name), str | int | Decimal):
                return said[name]
    return None


def value_of(event: dict[str, Any]) -> Decimal | str | None:
    """What an event adds to its unit; None where there is nothing to tell apart."""
    said = number_said(event)
    if event["metricName"] == "COUNT_DISTINCT":
        if isinstance(said, bool):
            return "true"
        return plain(said) if isinstance(said, Decimal) else str(said) if said not in (None, "") else None
    if isinstance(said, bool) or said in (None, "", "x", -1) or event["metricName"] == "COUNT":
        return Decimal(event["quantity"])
    return Decimal(said)


def number_of(events: list[dict[str, Any]]) -> Fraction:
    """The slow count of events of one unit."""
    metric = events[0]["metricName"]
    if metric == "COUNT":
        return Fraction(len(events))
    values = [value_of(event) for event in events]
    if metric == "COUNT_DISTINCT":
        return Fraction(len({value for value in values if value is not None}))
    return expected(metric, [value for value in values if isinstance(value, Decimal)])


def counted(events: list[dict[str, Any]]) -> dict[tuple[str, str | None], tuple[Fraction, int]]:
    """(metric, dimension) → (number, events)."""
    groups: dict[tuple[str, str | None], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        region = event["metadata"].get("region") if event["metricName"] in BY_REGION else None
        groups[event["metricName"], region].append(event)
    return {key: (number_of(group), len(group)) for key, group in groups.items()}


def exact(view: dict[str, Any]) -> dict[str, Any]:
    """An event as it was sent: the numbers of its metadata exact, as the wire has them."""
    found: dict[str, Any] = json.loads(
        msgspec.json.Encoder(decimal_format="number").encode(view), parse_float=Decimal
    )
    return found


moments = st.sampled_from([NOW + timedelta(minutes=30 * halves) for halves in range(-8, 1)])
hours = st.integers(-4, 1).map(lambda hour: NOW.replace(minute=0, second=0) + timedelta(hours=hour))
periods = st.sampled_from([(NOW - timedelta(days=1), NOW + timedelta(days=1))]) | st.one_of(
    st.tuples(moments, moments),
    st.tuples(moments, moments),
    st.tuples(hours, hours),
    st.tuples(hours, moments),
).filter(lambda pair: pair[0] < pair[1])


@given(st.data(), periods)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_the_invoice_is_what_the_raw_events_say(
    data: st.DataObject, period: tuple[datetime, datetime]
) -> None:
    """Any door, order, batching, failure, restart, void and cut hour: lines are exact, and so is what is unrated."""
    sent = data.draw(usage())
    with readings.engine(CATALOG) as made:
        send(
            made,
            data.draw(st.permutations(sent + data.draw(st.lists(st.sampled_from(sent), max_size=3)))),
            data,
        )
        keep_catalog(made)
        assert check(made.database) == []
        read = readings.reading(made)
        for customer in CUSTOMERS:
            events = [
                exact(view)
                for view in every(read.usage_events, tenant_no=made.tenant_no, customer_id=customer)
                if view["metricName"] in AGGREGATIONS
                and period[0] <= datetime.fromisoformat(view["occurredAt"]) < period[1]
            ]
            invoice = read.invoice_preview(made.tenant_no, customer, start=period[0], end=period[1])
            lines = {} if invoice is None else {
                (line["metricName"], line["dimension"]): (Fraction(line["quantity"]), line["eventCount"])
                for line in invoice["lines"]
            }  # fmt: skip
            billed = [event for event in events if event["productType"] == "AGENTIC_API"]
            assert lines == counted([e for e in billed if e.get("executionStatus") != "ERROR"])
            unrated = [event for event in events if event["productType"] != "AGENTIC_API"]
            for entry in invoice["unrated"] if invoice is not None else ():
                of_metric = [event for event in unrated if event["metricName"] == entry["metricName"]]
                assert entry["eventCount"] == len(of_metric)
                if entry["metricName"] != "COUNT":
                    assert Fraction(entry["quantity"]) == number_of(of_metric)


def keep_catalog(made: Engine) -> None:
    """Store the catalog that is in force, as a collector has it."""
    made.store.begin()
    made.store.put_catalog(made.tenant_no, json.dumps(export(CATALOG)), made.now_ns)
    made.store.commit(made.policy)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM samples WHERE event_no = 1",
        "UPDATE samples SET occurred_ns = occurred_ns + 1",
        "UPDATE samples SET label_no = label_no + 1",
        "INSERT INTO voided VALUES (1, 2)",
        "INSERT INTO samples SELECT customer_no, metric_no, occurred_ns, 9, payer_no, 0, 0, value FROM samples",
        "DELETE FROM used_metrics",
    ],
)
def test_a_check_finds_values_that_are_not_those_of_the_events(damage: str) -> None:
    """A value that is lost, left over or of another moment or price would be on the bill: it is told."""
    with readings.engine(CATALOG) as made:
        keep_catalog(made)
        event = {"customerId": "acme", "metricName": "MAX", "quantity": 1, "metadata": {"region": "eu"}}
        made.submit({**event, "idempotencyKey": "1"})
        assert check(made.database) == []
        made.query(damage)
        assert "values" in {finding.check for finding in check(made.database)}


def test_a_sample_is_there_exactly_while_its_event_counts() -> None:
    """Samples are one for each net event of a unit that needs them, and none for units that add up."""
    with readings.engine(CATALOG) as made:
        made.submit(*(
            {
                "customerId": "acme", "metricName": metric, "quantity": 1, "idempotencyKey": metric,
                "metadata": {"n_x": 5},
            }
            for metric in AGGREGATIONS
        ))  # fmt: skip
        sampled = made.query(
            "SELECT name, value FROM samples JOIN names ON name_no = metric_no ORDER BY event_no"
        )
        assert sampled == [(metric, "5") for metric in AGGREGATIONS if metric != "COUNT"]
        bookings = made.intake.bookings
        for (event_no,) in made.query("SELECT event_no FROM samples"):
            made.store.begin()
            bookings.take_back(made.tenant_no, bookings.recall(event_no), made.now_ns)
            made.store.commit(made.policy)
        assert made.query("SELECT * FROM samples") == []
        assert made.store.used_metrics(made.tenant_no) == set(AGGREGATIONS)


def test_a_sample_of_a_transaction_that_failed_is_gone() -> None:
    """What was held for a commit that never came is not written by the next one."""
    event = {"customerId": "acme", "metricName": "MAX", "quantity": 1}
    with readings.engine(CATALOG) as made:
        made.store.begin()
        made.intake.submissions.submit(made.submission({**event, "idempotencyKey": "1"}), made.now_ns)
        made.intake.forget()
        made.store.rollback()
        assert made.store.used_metrics(made.tenant_no) == set()
        made.submit({**event, "quantity": 7, "idempotencyKey": "2"})
        assert made.query("SELECT value FROM samples") == [("7",)]
        assert made.store.used_metrics(made.tenant_no) == {"MAX"}


def test_an_event_keeps_the_quantity_that_was_sent() -> None:
    """The wire shows the event as it was sent, the line what its unit makes of it, and the estimate agrees."""
    with readings.engine(CATALOG) as made:
        at = {"customerId": "acme", "quantity": 1, "occurredAt": (NOW_NS - HOUR_NS) // 10**9}
        made.submit(
            {**at, "metricName": "SUM", "idempotencyKey": "1", "metadata": {"n_x": 40}},
            {**at, "metricName": "MAX", "idempotencyKey": "2", "metadata": {"nX": 40}},
        )
        read = readings.reading(made)
        assert [event["quantity"] for event in every(read.usage_events, tenant_no=made.tenant_no)] == [
            "1",
            "1",
        ]
        invoice = read.invoice_preview(made.tenant_no, "acme")
        assert invoice is not None
        assert [(line["quantity"], line["amount"]) for line in invoice["lines"]] == [("40", "80.00")] * 2
        assert made.query("SELECT revenue FROM usage_events ORDER BY event_no") == [("80",), (None,)]


@pytest.mark.parametrize("until", [datetime(2262, 4, 12, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_period_may_end_whenever(until: datetime) -> None:
    """What is owed until a day after any that SQLite can say in nanoseconds is all that is owed."""
    with readings.engine(CATALOG) as made:
        made.submit({"customerId": "acme", "metricName": "MAX", "quantity": 3, "idempotencyKey": "k"})
        read = readings.reading(made)
        owed = read.invoice_preview(made.tenant_no, "acme", start=datetime(1970, 1, 1, tzinfo=UTC), end=until)
        later = read.invoice_preview(made.tenant_no, "acme", start=until - timedelta(minutes=1), end=until)
        assert owed is not None
        assert later is not None
        assert (owed["total"], later["total"]) == ("6.00", "0.00")


def test_an_amended_event_counts_as_it_was_amended() -> None:
    """What was kept of the event before goes with it, and the line follows."""
    with readings.engine(CATALOG) as made:
        for key, value in (("1", 40), ("2", 8)):
            event = {"customerId": "acme", "metricName": "MAX", "quantity": 1, "idempotencyKey": key}
            made.submit({**event, "metadata": {"n_x": value}})
        made.store.begin()
        made.intake.amendments.amend(made.tenant_no, 1, {"metadata": {"nX": 7}}, made.now_ns)
        made.store.commit(made.policy)
        invoice = readings.reading(made).invoice_preview(made.tenant_no, "acme")
        assert invoice is not None
        assert [(line["quantity"], line["eventCount"]) for line in invoice["lines"]] == [("8", 2)]
