"""The same events, split and ordered anyhow over the routes, read the same; the books say what was sent."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector.catalogs import catalog_for
from tests.collector.running import Running, starter

from .events import apigee, instant, send, took

CUSTOMERS = [f"split-{number:04}-customer" for number in range(2_000)]
OUTCOMES = ("received", "recorded", "duplicates", "conflicts", "rejected")
Event = dict[str, Any]


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A collector whose catalog has prices and many customers."""
    units = [{"name": "pages"}]
    with starter(tmp_path_factory.mktemp("splits") / "data") as start:
        collector = start("--dev")
        catalog = catalog_for(*CUSTOMERS, billable_units=units, recorded_metrics=["*"])
        catalog["rate_plans"][0]["prices"].append(
            {"metric": "pages", "model": "PER_UNIT", "unit_price": "0.3"}
        )
        assert collector.http.put("/v1/catalog", json=catalog).status_code == 200
        yield collector


_fresh = itertools.cycle(CUSTOMERS)


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    """Events of one customer, whose name is yet to come: of several units, sessions, tools, models and times."""
    found = []
    for number in range(draw(st.integers(1, 8))):
        event: Event = {
            "metricName": draw(st.sampled_from(
                ("api_calls", "pages", "agentic_api.tool_calls", "ai_agent.steps", "agentic_api.input_tokens")
            )),
            "quantity": draw(st.sampled_from((0, 1, 2.5, 7))),
            "occurredAt": instant(minutes=draw(st.integers(1, 120))),
            "idempotencyKey": f"key-{number}",
            "eventType": "usage",  # what gateways always say
        }  # fmt: skip
        for field, values in (
            ("sessionId", (None, "s-1", "s-2")), ("toolName", (None, "lookup", "db_write")), ("agentId", (None, "a-1")),
            ("executionStatus", (None, "SUCCESS", "ERROR")), ("executionDurationMs", (None, 1500)),
            ("metadata", (None, {"size": "a4"}, {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 7},
                          {"total_provider_cost": "0.25"})),
        ):  # fmt: skip
            if (value := draw(st.sampled_from(values))) is not None:
                event[field] = value
        found.append(event)
    return found


def cloud(event: Event) -> Event:
    """The same event in a CloudEvent."""
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": event}


def deliver(collector: Running, route: str, events: list[Event]) -> int:
    """Send events over a route, one by one where it takes one; returns how many were recorded."""
    if route == "batch":
        answers = [took(send(collector, "/v1/ingest/batch", {"events": events}), 202)]
    elif route == "async-batch":
        answers = [took(send(collector, "/v1/ingest/async-batch", events), 202)]
    elif route == "cloud batch":
        content_type = "application/cloudevents-batch+json"
        clouds = [cloud(event) for event in events]
        answers = [took(send(collector, "/v1/ingest/batch", clouds, content_type=content_type), 202)]
    elif route == "cloud":
        content_type = "application/cloudevents+json"
        answers = [
            took(send(collector, "/v1/ingest", cloud(one), content_type=content_type)) for one in events
        ]
    elif route == "gateway":
        answers = [took(send(collector, "/v1/ingest/events", apigee(one))) for one in events]
    else:
        answers = [took(send(collector, "/api/v1/meter", one)) for one in events]
    assert all(answer["failed"] == 0 for answer in answers)
    return sum(answer["accepted"] for answer in answers)


ROUTES = ("batch", "async-batch", "cloud batch", "cloud", "gateway", "single")


def told(story: list[Event], customer: str) -> list[Event]:
    """A story as it happened to a customer."""
    return [
        event | {"customerId": customer, "idempotencyKey": f"{customer}:{event['idempotencyKey']}"}
        for event in story
    ]


def read(collector: Running, customer: str) -> str:
    """What users read of a customer, but its name and the moment when it was read."""
    events = collector.data("/v1/usage-events", customerId=customer, limit=1000)
    for one in events:
        if str(one["eventId"]).startswith("final-"):  # made of the customer's name
            one["eventId"] = one["idempotencyKey"] = f"final-{one['sessionId']}-{one['metricName']}"
    listed = collector.data("/v1/sessions", customerId=customer)
    sessions = [
        [
            collector.data(f"/v1/sessions/{one['sessionId']}", customerId=customer),
            collector.data("/v1/usage-events", customerId=customer, sessionId=one["sessionId"])[0][
                "occurredAt"
            ],
        ]
        for one in sorted(listed, key=lambda one: str(one["sessionId"]))
    ]
    invoice = collector.data("/v1/invoices/preview", customerId=customer, **{"from": instant(days=2)[:10]})
    for view in (invoice, *(session for session, _ in sessions)):
        for moment in ("to", "closedAt"):
            view.pop(moment, None)
    events.sort(key=lambda one: str(one["eventId"]))
    return json.dumps([events, sessions, invoice], indent=1, sort_keys=True).replace(customer, "CUSTOMER")


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_split_over_the_routes_reads_the_same(sold: Running, data: st.DataObject) -> None:
    """Routes, batches, order and repetition change nothing of events, sessions and the invoice preview."""
    story = data.draw(stories())
    one, two = next(_fresh), next(_fresh)
    before = sold.data("/v1/intake/balance")
    assert deliver(sold, "batch", told(story, one)) == len(story)

    sent = data.draw(st.permutations(story + data.draw(st.lists(st.sampled_from(story), max_size=3))))
    count, recorded = len(sent), 0
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        recorded += deliver(sold, data.draw(st.sampled_from(ROUTES)), told(sent[:size], two))
        sent = sent[size:]

    assert recorded == len(story)
    after = sold.data("/v1/intake/balance")
    grown = {outcome: after[outcome] - before[outcome] for outcome in OUTCOMES}
    assert grown == {
        "received": len(story) + count, "recorded": 2 * len(story), "duplicates": count - len(story), "conflicts": 0,
        "rejected": 0,
    }  # fmt: skip
    assert read(sold, two) == read(sold, one)
    for customer in (one, two):
        for session in sold.data("/v1/sessions", customerId=customer):
            path = f"/v1/sessions/{session['sessionId']}/close"
            assert sold.http.post(path, params={"customerId": customer}).status_code == 200
    assert read(sold, two) == read(sold, one)


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_books_say_what_was_sent(sold: Running, data: st.DataObject) -> None:
    """Good, repeated, conflicting and wrong events in any batches: received is what was sent, by outcome."""
    customer = next(_fresh)
    good = told(data.draw(stories()), customer)
    wrong = st.sampled_from((
        {**good[0], "quantity": 99}, {**good[0], "quantity": -1}, {**good[0], "metricName": "unknown"}, 3, None, {},
    ))  # fmt: skip
    sent = data.draw(st.permutations(good + data.draw(st.lists(wrong | st.sampled_from(good), max_size=8))))
    before = sold.data("/v1/intake/balance")
    answers = []
    rest = sent
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        answers.append(took(send(sold, "/v1/ingest/batch", {"events": rest[:size]}), 202))
        rest = rest[size:]
    after = sold.data("/v1/intake/balance")
    grown = [after[outcome] - before[outcome] for outcome in OUTCOMES]
    assert grown[0] == sum(grown[1:]) == len(sent)
    accepted, duplicates, conflicts, failed = (
        sum(answer[field] for answer in answers)
        for field in ("accepted", "duplicates", "conflicts", "failed")
    )
    assert grown[1:] == [accepted, duplicates, conflicts, failed - conflicts]
    events = sold.data("/v1/usage-events", customerId=customer, limit=1000)
    assert len({one["idempotencyKey"].partition("#")[0] for one in events} - {None}) == accepted
