"""The wire samples of the contract, as they stand there (appendix D, sections 2.2 and 3.3)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from aforo_collector.pipeline.wire_names import snake

from tests.collector.running import Running, Start

from .events import event, instant, name, recorded, refused, send, took

BATCH = """{"events":[
 {"customerId":"cust_1","metricName":"api_calls","quantity":1,"occurredAt":"2026-10-01T10:00:00.000Z","idempotencyKey":"a-1","productType":"API","endpointPath":"/v1/x","httpMethod":"GET","statusCode":200,"responseTimeMs":12,"executionStatus":"SUCCESS"},
 {"customerId":"cust_1","metricName":"mcp_server.tool_invocations","quantity":1,"occurredAt":"2026-10-01T10:00:01Z","idempotencyKey":"a-2","productType":"MCP_SERVER","toolName":"search","agentId":"agent_7","sessionId":"s1","executionStatus":"ERROR","executionDurationMs":342,"metadata":{"total_provider_cost":0.0042}},
 {"customerId":"cust_1","metricName":"ai_agent.steps","quantity":1,"occurredAt":"2026-10-01T10:00:02Z","idempotencyKey":"a-3","productType":"AI_AGENT","agentId":"agent_7","sessionId":"s1","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","metadata":{"stepType":"THOUGHT","inputTokens":320,"outputTokens":84,"reasoningTokens":51}},
 {"customerId":"cust_1","metricName":"unknown_unit","quantity":1,"occurredAt":"2026-10-01T10:00:03Z","idempotencyKey":"a-4","productType":"AGENTIC_API"}
]}"""
HEARTBEAT = """{"events":[{"customerId":"system","metricName":"system.session.heartbeat","quantity":1,"occurredAt":"2026-10-01T10:00:30.000Z","idempotencyKey":"hb:heartbeat:s1:1790000000000:0a1b2c3d","productType":"MCP_SERVER","sessionId":"s1","sessionBoundary":"HEARTBEAT","metadata":{"heartbeatType":"PERIODIC","uptimeMs":30000}}]}"""  # noqa: E501


def of_today(sample: str) -> bytes:
    """A sample with its day moved into the window."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    return sample.replace("2026-10-01", yesterday).encode()


def test_the_batch_of_all_four_products(start: Start) -> None:
    """Three are recorded with all they say, the unknown metric is told at index 3; sent again, a-1 to a-3 are known."""
    collector = start("--dev")
    data = took(send(collector, "/v1/ingest/batch", of_today(BATCH)), 202)
    assert (data["accepted"], data["duplicates"], data["failed"]) == (3, 0, 1)
    [error] = data["errors"]
    assert (error["index"], error["code"]) == (3, "UNKNOWN_METRIC")
    assert "unknown_unit" in error["message"]
    assert data["killedSessionIds"] == []

    found = {one["idempotencyKey"]: one for one in recorded(collector, "cust_1")}
    for sent in json.loads(of_today(BATCH))["events"][:3]:
        read = found[sent["idempotencyKey"]]
        exact = {
            name: value for name, value in sent.items() if name not in ("quantity", "occurredAt", "metadata")
        }
        assert {name: read[name] for name in exact} == exact
        assert sent.get("metadata", {}).items() <= read["metadata"].items()
    assert found["a-2#mcp_server.provider_cost"]["quantity"] == "0.0042"

    session = collector.data("/v1/sessions/s1")
    assert session["totals"]["toolCallsByName"] == {"search": {"calls": 1, "succeeded": 0}}
    assert session["totals"]["tokens"] == {
        "input": 320, "output": 33, "reasoning": 51, "cacheRead": 0, "cacheWrite": 0, "total": 404,
    }  # fmt: skip
    assert session["totals"]["providerCost"] == "0.0042"

    again = took(send(collector, "/v1/ingest/batch", of_today(BATCH)), 202)
    assert (again["accepted"], again["duplicates"], again["failed"]) == (0, 3, 1)


def test_the_heartbeat(start: Start) -> None:
    """It is accepted and never a usage event."""
    collector = start("--dev")
    data = took(send(collector, "/v1/ingest/batch", of_today(HEARTBEAT)), 202)
    assert (data["accepted"], data["failed"], data["killedSessionIds"]) == (1, 0, [])
    assert collector.data("/v1/usage-events") == []


def test_the_single_unknown_metric(collector: Running) -> None:
    """422, a problem document that is not wrapped, code UNKNOWN_METRIC."""
    problem = refused(
        send(collector, "/v1/ingest", event("cust_1", metricName="unknown_unit")), 422, "UNKNOWN_METRIC"
    )
    assert "success" not in problem
    assert problem["type"] == "https://errors.aforo.ai/unknown-metric"
    assert problem["title"] == "Unknown metric"
    assert "unknown_unit" in problem["detail"]


def test_the_tool_call_of_the_mcp_documentation(collector: Running) -> None:
    """snake_case with `properties` and the short name of the unit is the event that the SDK would send."""
    acme, session_id = name(), name("session")
    sample: dict[str, Any] = {
        "event_type": "tool_invocation", "product_type": "MCP_SERVER", "metric_id": "tool_invocations", "quantity": 1,
        "customer_id": acme, "event_timestamp": instant(minutes=2), "event_id": name("evt"),
        "properties": {"tool_name": "search", "agent_id": "agent_7", "session_id": session_id,
                       "execution_status": "SUCCESS", "execution_duration_ms": 342, "cost_tier": "standard"},
    }  # fmt: skip
    took(send(collector, "/v1/ingest", sample))
    [one] = recorded(collector, acme)
    assert one["metricName"] == "mcp_server.tool_invocations"
    assert (one["toolName"], one["agentId"], one["sessionId"]) == ("search", "agent_7", session_id)
    assert (one["executionStatus"], one["executionDurationMs"]) == ("SUCCESS", 342)
    assert (one["productType"], one["idempotencyKey"]) == ("MCP_SERVER", sample["event_id"])
    assert one["metadata"]["cost_tier"] == "standard"
    totals = collector.data(f"/v1/sessions/{session_id}")["totals"]
    assert totals["toolCallsByName"] == {"search": {"calls": 1, "succeeded": 1}}


def test_the_token_event_of_the_mcp_documentation(collector: Running) -> None:
    """Token counts and a provider cost in `properties` reach the session as a span's would."""
    acme, session_id = name(), name("session")
    sample = {
        "event_type": "token_consumption", "product_type": "MCP_SERVER", "metric_id": "steps", "quantity": 1,
        "customer_id": acme,
        "properties": {"session_id": session_id, "agent_id": "agent_7", "input_tokens": 1200, "output_tokens": 300,
                       "reasoning_tokens": 100, "model": "gpt-4o", "total_provider_cost": 0.0155},
    }  # fmt: skip
    took(send(collector, "/v1/ingest", sample))
    totals = collector.data(f"/v1/sessions/{session_id}")["totals"]
    assert (totals["tokens"]["input"], totals["tokens"]["output"], totals["tokens"]["reasoning"]) == (
        1200,
        200,
        100,
    )
    assert totals["providerCost"] == "0.0155"


def test_the_single_event_shape_of_gateways(collector: Running) -> None:
    """eventType, metricKey, value, timestamp and properties are metricName, quantity, occurredAt and metadata."""
    acme = name()
    sample = {
        "eventType": "agent_step", "metricKey": "ai_agent.steps", "value": 2, "idempotencyKey": name("key"),
        "customerId": acme, "tenantId": "dev", "productId": "prod_1", "agentId": "agent_7",
        "sessionId": f"sess_{name()}"[:40], "timestamp": instant(minutes=1),
        "properties": {"stepKind": "PLAN", "stepIndex": 4, "executionStatus": "SUCCESS", "durationMs": 10},
    }  # fmt: skip
    took(send(collector, "/v1/ingest/events", sample))
    [one] = recorded(collector, acme)
    assert (one["metricName"], one["quantity"], one["agentId"]) == ("ai_agent.steps", "2", "agent_7")
    assert (one["sessionId"], one["metadata"]["stepIndex"]) == (sample["sessionId"], 4)
    again = {snake(field): value for field, value in sample.items()} | {"idempotency_key": name("key")}
    assert took(send(collector, "/v1/ingest/events", again))["accepted"] == 1
    assert recorded(collector, acme)[1]["metricName"] == "ai_agent.steps"
    for field in ("eventType", "metricKey", "value", "idempotencyKey", "customerId"):
        lacking = {name: value for name, value in sample.items() if name != field}
        problem = refused(send(collector, "/v1/ingest/events", lacking), 400, "MALFORMED_BODY")
        assert field in problem["detail"]


def test_the_node_sdk_s_sessions(start: Start) -> None:
    """What the Node agent SDK sends is taken under the units of the catalog that it names."""
    collector = start("--dev")
    units = [{"name": name} for name in ("session_count", "step_count", "tokens_total", "session_completed")]
    collector.http.put("/v1/catalog", json={"billable_units": units}).raise_for_status()
    base = {
        "customerId": "acme",
        "agentId": "a-1",
        "sessionId": "sess_1",
        "tenantId": "dev",
        "productId": "p",
    }
    for kind, metric, value, properties in (
        ("agent_session_start", "session_count", 1, {}),
        ("agent_step", "step_count", 1, {"stepKind": "TOOL", "capabilityName": "search", "durationMs": 3}),
        ("token_usage", "tokens_total", 15, {"inputTokens": 10, "outputTokens": 5, "modelName": "gpt-4o"}),
        ("agent_session_end", "session_completed", 1, {"stepCount": 1, "taskCompleted": True}),
    ):
        sent = base | {"eventType": kind, "metricKey": metric, "value": value, "properties": properties,
                       "idempotencyKey": kind}  # fmt: skip
        took(send(collector, "/v1/ingest/events", sent))
    units_found = {one["metricName"] for one in recorded(collector, "acme")}
    assert {unit["name"] for unit in units} <= units_found
    totals = collector.data("/v1/sessions/sess_1")["totals"]
    assert (totals["tokens"]["input"], totals["tokens"]["output"]) == (10, 5)
    assert totals["providerCost"] == "0.000075"
