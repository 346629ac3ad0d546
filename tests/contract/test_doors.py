"""The same events through different doors: over HTTP, as files in either format, pushed by a webhook."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector.running import Running, starter
from tests.collector.webhooks import source
from tests.uploads.sending import upload

from .test_splits import CUSTOMERS, Event, catalog_for, deliver, read, stories, told

_fresh = itertools.cycle(CUSTOMERS)
_numbers = itertools.count(1)
FIELDS = (
    "customerId",
    "metricName",
    "quantity",
    "occurredAt",
    "sessionId",
    "toolName",
    "agentId",
    "executionStatus",
)
"""What a webhook of these tests is mapped to, beside metadata."""
COLUMNS = (
    "customer_id", "Metric", "quantity", "event_timestamp", "event_id", "sessionId", "tool_name", "agentId",
    "executionStatus", "execution_duration_ms", "metadata",
)  # fmt: skip
NAMES = ("customerId", "metricName", "quantity", "occurredAt", "idempotencyKey", "sessionId", "toolName", "agentId",
         "executionStatus", "executionDurationMs", "metadata")  # fmt: skip


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A collector whose catalog has prices, a filter and many customers."""
    free = {"field": "size", "operator": "NOT_EQUALS", "value": "a4"}
    with starter(tmp_path_factory.mktemp("doors") / "data") as start:
        collector = start("--dev")
        units = [{"name": "pages", "filter": [free]}]
        catalog = catalog_for(*CUSTOMERS, billable_units=units, recorded_metrics=["*"])
        catalog["rate_plans"][0]["prices"].append(
            {"metric": "pages", "model": "PER_UNIT", "unit_price": "0.3"}
        )
        assert collector.http.put("/v1/catalog", json=catalog).status_code == 200
        yield collector


def plain(story: list[Event]) -> list[Event]:
    """A story without what only gateways say."""
    return [{name: value for name, value in event.items() if name != "eventType"} for event in story]


def through(collector: Running, door: str, events: list[Event]) -> int:
    """Bring events through a door; how many were recorded."""
    if not door.startswith("file"):
        return deliver(collector, door, events)
    apart = "\n" * next(_numbers)  # blank lines at the end make it another file
    if door == "file of NDJSON":
        lines = "\n".join(map(json.dumps, events)) + apart
        job = upload(collector, "a.ndjson.zst", zstandard.compress(lines.encode()))
    else:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for event in events:
            cells = [event.get(name, "") for name in NAMES]
            writer.writerow([json.dumps(cell) if isinstance(cell, dict) else cell for cell in cells])
        job = upload(collector, "a.csv", (text.getvalue() + apart).encode())
    assert job["state"] == "COMPLETED", job
    return int(job["totals"]["recorded"])


DOORS = ("batch", "single", "cloud batch", "file of NDJSON", "file of CSV")


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_split_over_the_doors_reads_the_same(sold: Running, data: st.DataObject) -> None:
    """Whatever came over HTTP and what in files, in which order and how often: events, sessions and invoice agree."""
    story = plain(data.draw(stories()))
    one, two = next(_fresh), next(_fresh)
    assert through(sold, "batch", told(story, one)) == len(story)
    sent = data.draw(st.permutations(story + data.draw(st.lists(st.sampled_from(story), max_size=3))))
    recorded = 0
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        recorded += through(sold, data.draw(st.sampled_from(DOORS)), told(sent[:size], two))
        sent = sent[size:]

    assert recorded == len(story)
    assert without_doors(read(sold, two)) == without_doors(read(sold, one))


def without_doors(text: str) -> str:
    """What was read, but through which door it came."""
    return re.sub(r'"door": "\w+"', '"door"', text)


@given(story=stories())
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_webhook_is_billed_as_http_is(sold: Running, story: list[Event]) -> None:
    """What a provider pushes, mapped field by field, makes the same sessions and the same invoice."""
    story = [
        {name: event[name] for name in NAMES if name in event and "Duration" not in name} for event in story
    ]
    one, two = next(_fresh), next(_fresh)
    through(sold, "batch", told(story, one))
    said = ("size", "model", "input_tokens", "output_tokens", "total_provider_cost")
    mappings: dict[str, Any] = {name: f"$.{name}" for name in FIELDS}
    mappings["metadata"] = {name: f"$.metadata.{name}" for name in said}
    push = source(sold, mappings=mappings)
    for outcome in ("accepted", "duplicate"):
        for event in told(story, two):
            assert push.data(event)["outcome"] == outcome

    views = [
        (
            sold.data("/v1/invoices/preview", customerId=customer, **{"from": "2026-01-01"}),
            [session["totals"] for session in sold.data("/v1/sessions", customerId=customer)],
        )
        for customer in (one, two)
    ]
    for (invoice, _), customer in zip(views, (one, two), strict=True):
        assert invoice.pop("customerId") == customer
        invoice.pop("to")
    assert views[0] == views[1]


@pytest.mark.parametrize(
    ("said", "cost"), [({}, "0.0025"), ({"provider": "openai"}, "0.0025"), ({"provider": "x"}, None)]
)
def test_the_sender_of_a_webhook_is_not_who_provides_the_model(
    sold: Running, said: dict[str, str], cost: str | None
) -> None:
    """A call costs what its model and the model's provider say; the webhook's stands in the metadata all the same."""
    customer = next(_fresh)
    event = {"id": customer, "customerId": customer, "metricName": "api_calls", "sessionId": customer}
    push = source(sold, mappings={"sessionId": "$.sessionId", "metadata": {
        name: f"$.{name}" for name in ("model", "input_tokens", "provider")}})  # fmt: skip
    assert push.data(event | said | {"model": "gpt-4o", "input_tokens": 1000})["outcome"] == "accepted"
    totals = sold.data(f"/v1/sessions/{customer}")["totals"]
    assert (totals["providerCost"], totals["unpricedCalls"]) == (cost or "0", 0 if cost else 1)
    first = sold.data("/v1/usage-events", customerId=customer)[0]
    assert first["metadata"]["provider"] == "custom"
