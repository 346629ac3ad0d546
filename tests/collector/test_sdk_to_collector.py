"""From a program with the SDK to what the collector bills, over the wire and the spool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.collector.running import Start

PROGRAM = """
import asyncio, threading
import aforo_sdk

@aforo_sdk.tool(cost="0.25")
def search(query):
    return query

@aforo_sdk.tool
async def fail():
    raise LookupError(query)

@aforo_sdk.agent(name="researcher")
def research():
    search("x")
    try:
        asyncio.run(fail())
    except NameError:
        pass

aforo_sdk.init(customer_id="acme", team_id="science")
with aforo_sdk.session(agent_id="r-1") as session:
    research()
    thread = threading.Thread(target=session.wrap(search), args=("y",))
    thread.start()
    thread.join()
    for _ in range(2):
        aforo_sdk.record_usage("api_calls", "2.5", metadata={"endpointPath": "/v1"}, idempotency_key="k-1")
    aforo_sdk.record_usage("api_calls", 4, idempotency_key="k-1")
    aforo_sdk.record_usage("no_such_metric", 1)
    aforo_sdk.record_usage("api_calls", 0)
assert aforo_sdk.flush(10.0)
print(session.session_id)
"""


def _run(url: str, spool: Path) -> str:
    environment = os.environ | {"AFORO_ENDPOINT": url, "AFORO_SPOOL_DIR": str(spool)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_program_is_billed_for_what_it_did(start: Start, tmp_path: Path) -> None:
    """Decorated tools, threads, hand-recorded usage and the end of the session arrive as one closed session."""
    collector = start("--dev")
    session_id = _run(collector.url, tmp_path / "spool")

    session = collector.data(f"/v1/sessions/{session_id}")
    events = collector.data("/v1/usage-events", sessionId=session_id, limit=1000)

    assert (session["state"], session["closeReason"]) == ("CLOSED", "EXPLICIT")
    assert (session["customerId"], session["teamId"], session["agentId"]) == ("acme", "science", "r-1")
    assert session["totals"]["toolCallsByName"] == {
        "fail": {"calls": 1, "succeeded": 0},
        "search": {"calls": 2, "succeeded": 2},
    }
    assert session["totals"]["providerCost"] == "0.5"
    calls = [event for event in events if event["metricName"] == "api_calls"]
    assert sorted(event["quantity"] for event in calls) == ["0", "2.5"]
    assert [event["metadata"] for event in calls if event["quantity"] == "2.5"] == [{"endpointPath": "/v1"}]


def test_what_is_not_billed_is_in_the_books(start: Start, tmp_path: Path) -> None:
    """A repeated key is a duplicate, other contents under it a conflict, an unknown metric is rejected."""
    collector = start("--dev")
    _run(collector.url, tmp_path / "spool")

    balance = collector.data("/v1/intake/balance")
    reasons = {entry["code"] for entry in collector.data("/v1/intake/quarantine")}

    assert (balance["duplicates"], balance["conflicts"], balance["rejected"]) == (1, 1, 1)
    assert reasons == {"CONFLICT", "UNKNOWN_METRIC"}


def test_every_line_lists_its_events_and_every_event_its_span(start: Start, tmp_path: Path) -> None:
    """From an invoice line to its events to the span of each, and back to the same numbers."""
    collector = start("--dev")
    session_id = _run(collector.url, tmp_path / "spool")
    plan = {
        "metric": "agentic_api.tool_calls",
        "model": "PER_UNIT",
        "unit_price": "0.1",
        "dimension": "toolName",
    }
    catalog = {
        "rate_plans": [{"code": "pro", "prices": [plan]}],
        "products": [{"code": "research", "type": "AGENTIC_API", "rate_plan": "pro"}],
        "customers": [{"id": "acme", "products": ["research"]}],
        "recorded_metrics": ["*"],
    }
    assert collector.http.put("/v1/catalog", json=catalog).status_code == 200
    invoice = collector.data("/v1/invoices/preview", customerId="acme")
    [line] = invoice["lines"]
    events = collector.data("/v1/invoices/preview/lines/0/events", customerId="acme")
    spans = _spans(collector.data(f"/v1/sessions/{session_id}/trace")["roots"])

    assert (line["dimension"], line["quantity"], line["amount"], line["eventCount"]) == (
        "search",
        "2",
        "0.20",
        2,
    )
    assert [event["toolName"] for event in events] == ["search", "search"], "the failed call has weight 0"
    for event in events:
        assert event["eventId"] in spans[event["spanId"]]["usageEvents"]


def _spans(nodes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for node in nodes:
        found[node["spanId"]] = node
        found |= _spans(node["children"])
    return found
