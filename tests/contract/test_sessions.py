"""Sessions told by events: heartbeats, ends, kills, and what the events of a session add up to (appendix A, 8, 14)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.collector.running import Running, Start

from .events import event, name, recorded, refused, send, took

BATCH = "/v1/ingest/batch"


def signal(session_id: str, boundary: str = "HEARTBEAT", **more: Any) -> dict[str, Any]:
    """A heartbeat as the clients send it."""
    return event(
        "system", metricName="system.session.heartbeat", sessionId=session_id, sessionBoundary=boundary,
        productType="MCP_SERVER", **more,
    )  # fmt: skip


def call(customer_id: str, session_id: str, **more: Any) -> dict[str, Any]:
    """A tool call in a session."""
    named = {"metricName": "mcp_server.tool_invocations", "productType": "MCP_SERVER", "toolName": "search",
             "agentId": "a-1", "executionStatus": "SUCCESS", "executionDurationMs": 250}  # fmt: skip
    return event(customer_id, sessionId=session_id, **(named | more))


def killed(collector: Running, *events: dict[str, Any]) -> list[str]:
    """The sessions that an answer says are closed."""
    found: list[str] = took(send(collector, BATCH, {"events": list(events)}), 202)["killedSessionIds"]
    return found


@pytest.mark.parametrize(
    "more",
    [
        {}, {"quantity": 0}, {"sessionBoundary": "SESSION_START", "quantity": 0}, {"sessionBoundary": None},
        {"sessionBoundary": None, "metadata": {"sessionBoundary": "HEARTBEAT"}}, {"idempotencyKey": None},
        {"sessionId": None, "metadata": {"note": "of no session"}},
    ],
)  # fmt: skip
def test_a_heartbeat_is_honoured_and_never_billed(collector: Running, more: dict[str, Any]) -> None:
    """Of this year's clients or the older ones: accepted, no usage event, no session, balanced as recorded."""
    session_id = name("session")
    beat = {field: value for field, value in (signal(session_id) | more).items() if value is not None}
    before = collector.data("/v1/intake/balance")
    for _ in range(2):
        assert killed(collector, beat) == []
    assert recorded(collector, "system") == collector.data("/v1/usage-events", sessionId=session_id) == []
    assert collector.http.get(f"/v1/sessions/{session_id}").status_code == 404
    after = collector.data("/v1/intake/balance")
    assert (after["received"], after["recorded"]) == (before["received"] + 2, before["recorded"] + 2)


def test_a_session_ends_with_one_final_event(collector: Running) -> None:
    """Calls, then SESSION_END: CLOSED with what the calls add up to; a second end changes nothing."""
    acme, session_id = name(), name("session")
    took(
        send(
            collector,
            BATCH,
            {"events": [call(acme, session_id), call(acme, session_id, executionStatus="ERROR")]},
        ),
        202,
    )
    thought = {"inputTokens": 320, "outputTokens": 84, "reasoningTokens": 51, "total_provider_cost": 0.5}
    step = call(acme, session_id, metricName="mcp_server.steps", metadata=thought)
    took(send(collector, "/v1/ingest", step))
    path = f"/v1/sessions/{session_id}"
    assert collector.data(path)["state"] == "ACTIVE"

    assert killed(collector, signal(session_id, "SESSION_END")) == []
    closed = collector.data(path)
    assert (closed["state"], closed["closeReason"], closed["customerId"]) == ("CLOSED", "EXPLICIT", acme)
    totals = closed["totals"]
    assert totals["toolCallsByName"] == {"search": {"calls": 2, "succeeded": 1}}
    assert totals["tokens"]["total"] == 404
    assert totals["providerCost"] == "0.5"
    finals = [one for one in recorded(collector, acme) if one["metricName"] == "mcp_server.sessions"]
    assert [one["metadata"]["totals"] for one in finals] == [totals]

    killed(collector, signal(session_id, "SESSION_END"))
    collector.http.post(f"{path}/close").raise_for_status()
    assert collector.data(path) == closed
    assert [one for one in recorded(collector, acme) if one["metricName"] == "mcp_server.sessions"] == finals


def test_an_end_counts_what_came_with_it(collector: Running) -> None:
    """Usage and the end in one batch, in any order: the usage is in the final event."""
    for end_first in (True, False):
        acme, session_id = name(), name("session")
        events = [call(acme, session_id), signal(session_id, "SESSION_END")]
        assert killed(collector, *(events[::-1] if end_first else events)) == [], "it ends itself"
        closed = collector.data(f"/v1/sessions/{session_id}")
        assert (closed["state"], closed["totals"]["toolCalls"]) == ("CLOSED", 1)


def test_a_closed_session_is_told_to_its_client(collector: Running) -> None:
    """After an operator closed it, heartbeats and calls are answered with its id; late calls are adjustments."""
    acme, session_id, other = name(), name("session"), name("session")
    assert killed(collector, call(acme, session_id), call(acme, other)) == []
    assert killed(collector, signal(session_id), signal(other)) == []
    collector.http.post(f"/v1/sessions/{session_id}/close").raise_for_status()
    assert killed(collector, signal(session_id), signal(other)) == [session_id]
    assert killed(collector, call(acme, session_id), call(acme, other)) == [session_id]
    late = [one for one in recorded(collector, acme) if one["adjustment"]]
    assert [one["sessionId"] for one in late if one["toolName"]] == [session_id]
    assert collector.data(f"/v1/sessions/{session_id}")["totals"]["toolCalls"] == 1


def test_two_customers_with_one_session_id_are_kept_apart(collector: Running) -> None:
    """An end or a kill that names one customer leaves the other's session of that id alone."""
    one, two, session_id = name(), name(), name("session")
    killed(collector, call(one, session_id), call(two, session_id))
    killed(collector, signal(session_id, "SESSION_END", customerId=one))
    states = [collector.data(f"/v1/sessions/{session_id}", customerId=who)["state"] for who in (one, two)]
    assert states == ["CLOSED", "ACTIVE"]
    assert killed(collector, call(two, session_id)) == []
    assert killed(collector, signal(session_id, customerId=two)) == []
    assert killed(collector, call(one, session_id)) == [session_id]
    killed(collector, signal(session_id, "SESSION_END"))
    assert collector.data(f"/v1/sessions/{session_id}", customerId=two)["state"] == "CLOSED", (
        "system means all"
    )


def test_metadata_does_not_make_a_heartbeat_of_usage(collector: Running) -> None:
    """A usage event whose metadata speaks of boundaries is billed."""
    acme = name()
    took(send(collector, "/v1/ingest", event(acme, metadata={"sessionBoundary": "HEARTBEAT"})))
    assert len(recorded(collector, acme)) == 1


def test_a_quiet_session_is_idle_wakes_and_ends(start: Start) -> None:
    """ACTIVE by a call, IDLE after silence, ACTIVE by the next call, CLOSED by the timeout with its reason."""
    collector = start("--dev", "--session-idle-s", "1", "--session-timeout-s", "3")
    killed(collector, call("acme", "s"))
    path = "/v1/sessions/s"
    assert collector.data(path)["state"] == "ACTIVE"
    until(collector, path, "IDLE")
    killed(collector, call("acme", "s"))
    assert collector.data(path)["state"] == "ACTIVE"
    until(collector, path, "CLOSED")
    closed = collector.data(path)
    assert (closed["closeReason"], closed["totals"]["toolCalls"]) == ("TIMEOUT", 2)


def until(collector: Running, path: str, state: str) -> None:
    """Wait for a state; whoever hangs is ended by the suite's own time limit."""
    while collector.data(path)["state"] != state:
        time.sleep(0.05)


@pytest.mark.parametrize("boundary", ["HEARTBEAT", "SESSION_END"])
def test_a_heartbeat_is_validated(collector: Running, boundary: str) -> None:
    """It needs what every event needs: a customer and a time that can be."""
    for change, code in (
        ({"customerId": " "}, "MISSING_FIELD"), ({"occurredAt": "2020-01-01T00:00:00Z"}, "TOO_OLD"),
        ({"sessionId": "x" * 65}, "FIELD_TOO_LONG"), ({"quantity": -1}, "INVALID_QUANTITY"),
    ):  # fmt: skip
        refused(send(collector, "/v1/ingest", signal("s", boundary) | change), 400, code)
