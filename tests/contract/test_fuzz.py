"""Whatever comes in: never a 500, never a hang, and what goes wrong is always a problem document."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.collector.catalogs import catalog_for
from tests.collector.running import Running, starter
from tests.collector.wire import PROTOBUF, body, chat, tool

from .events import PROBLEM, ROUTES

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
TIMEOUT_S = 30
EXAMPLES = int(os.environ.get("AFORO_FUZZ_EXAMPLES", "4"))
"""Requests to each operation; many more find more."""
FUZZED = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A collector that nobody else asks anything; at the end it works, and has logged no error."""
    with starter(tmp_path_factory.mktemp("fuzz") / "data") as start:
        collector = start("--dev")
        yield collector
        assert collector.http.get("/readyz").status_code == 200
        assert collector.stop() == 0
        assert not [line for line in collector.said if "Traceback" in line], "\n".join(collector.said)


@pytest.fixture(scope="module")
def known(victim: Running) -> dict[str, list[str]]:
    """Something of everything in the collector, and by the name of a parameter what is there."""
    victim.http.put("/v1/catalog", json=catalog_for("fuzzed", recorded_metrics=["*"])).raise_for_status()
    spans = [make("fuzzed", aforo__session__id="s-1") for make in (chat, tool)] + [tool(None)]
    victim.http.post("/v1/traces", content=body(*spans), headers=PROTOBUF).raise_for_status()
    event = {"customerId": "fuzzed", "metricName": "api_calls", "quantity": 1, "idempotencyKey": "e/1"}
    victim.http.post("/v1/ingest", json=event).raise_for_status()
    source = victim.http.post("/v1/webhook-sources", json={"provider": "custom"}).json()["data"]["sourceId"]
    victim.http.post(f"/v1/ingest/webhook/{source}", content=b"{}")
    upload = victim.http.post("/v1/ingest/upload", files={"file": ("a.csv", b"a,b\n1,2\n")}).json()["data"]
    key = victim.http.post("/v1/api-keys", json={"customerId": "fuzzed"}).json()["data"]["id"]
    return {
        "row_id": ["fuzzed", "pro", "research", "fuzzed:research"],
        "customerId": ["fuzzed"],
        "sessionId": ["s-1"],
        "session_id": ["s-1"],
        "event_id": ["e/1", victim.data("/v1/usage-events")[0]["eventId"]],
        "source_id": [source],
        "delivery_id": [victim.data("/v1/webhook-deliveries")[0]["deliveryId"]],
        "quarantineId": [victim.data("/v1/intake/quarantine")[0]["quarantineId"]],
        "job_id": [upload["jobId"]],
        "key_id": [key],
        "line": ["0"],
        "model": ["gpt-4o-mini"],
    }


def test_every_operation_answers_as_it_says(victim: Running, known: dict[str, list[str]]) -> None:
    """Requests that follow the description, and requests that do not, are answered as it says, whatever is there."""
    asked = []
    for found in schemathesis.openapi.from_url(f"{victim.url}/openapi.json").get_all_operations():
        operation = found.ok()
        modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @given(case=st.one_of(modes), data=st.data())
        @settings(FUZZED, max_examples=EXAMPLES)
        def ask(case: schemathesis.Case, data: st.DataObject) -> None:
            if data.draw(st.booleans()):
                for place in (case.path_parameters, case.query):
                    for name in place.keys() & known.keys():
                        place[name] = data.draw(st.sampled_from(known[name]))
            response = case.call(base_url=victim.url, timeout=TIMEOUT_S)
            case.validate_response(response, checks=CHECKS)

        ask()
        asked.append((operation.method.upper(), operation.path))
    document = victim.http.get("/openapi.json").json()["paths"]
    assert set(asked) == {(method.upper(), path) for path, methods in document.items() for method in methods}
    assert {path for _, path in asked} > set(ROUTES)


numbers = (
    st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from((10**19, 2**63, 2**64, -(2**63) - 1, 1e-300, 1.7e308))
)
words = st.sampled_from((
    "api_calls", "ai_agent.steps", "mcp_server.tool_invocations", "agentic_api.provider_cost", "SUCCESS", "AI_AGENT",
    "system.session.heartbeat", "SESSION_END", "2026-01-01T00:00:00Z", "1.0", "", " ", "\0", "\U0001f600" * 40,
    "x" * 300, "'; DROP TABLE sessions; --", "../../etc/passwd", "=1+1", "%00", "NaN", "1e999",
))  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | numbers | words | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = st.sampled_from((
    "customerId", "metricName", "quantity", "occurredAt", "idempotencyKey", "productType", "metadata", "trace",
    "executionStatus", "executionDurationMs", "traceId", "sessionId", "agentId", "toolName", "sessionBoundary",
    "statusCode", "subject", "type", "source", "id", "specversion", "data", "data_base64", "time", "traceparent",
    "correlationId", "measurements", "events", "metricKey", "value", "properties", "eventType", "event_id", "model",
    "input_tokens", "outputTokens", "total_provider_cost", "teamId", "appId", "capabilityName", "stepType",
))  # fmt: skip
usual = st.fixed_dictionaries({
    "customerId": st.just("fuzzed"),
    "metricName": words,
    "quantity": st.just(1) | numbers,
})  # fmt: skip
events = st.builds(lambda base, odd: base | odd, usual, st.dictionaries(fields, values, max_size=6))
documents = (
    values
    | events
    | st.lists(events | values, max_size=4)
    | st.fixed_dictionaries({"events": st.lists(events | values, max_size=4)})
)
deep = st.builds(
    lambda opened, times: opened * times, st.sampled_from((b"[", b'{"a":', b'[{"":')), st.integers(1, 2_000)
)
bodies = st.one_of(
    documents.map(lambda document: json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    documents.map(lambda document: json.dumps(document).encode()),
    documents.map(lambda document: json.dumps(document).encode()[:-1]),
    st.binary(max_size=40),
    deep,
    st.integers(1, 6_000).map(
        lambda digits: b'{"customerId":"a","metricName":"api_calls","quantity":' + b"9" * digits + b"}"
    ),
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)
headers = st.dictionaries(
    st.sampled_from((
        "Content-Encoding", "X-Request-Id", "X-Tenant-Id", "X-Customer-Id", "ce-specversion", "ce-id", "ce-source",
        "ce-type", "ce-subject", "ce-time", "ce-traceparent", "Accept", "Expect-Nothing", "Idempotency-Key",
    )),
    header_texts
    | st.sampled_from(("gzip", "identity", "1.0", "api_calls", "fuzzed", "%F0%9F%98%80", "%", "%zz", '"q"')),
    max_size=5,
)  # fmt: skip
kinds = st.sampled_from((
    "application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain", "",
))  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
def test_no_body_and_no_header_makes_a_route_fail(victim: Running, path: str) -> None:
    """Arbitrary JSON, bytes, numbers, nesting and headers: 2xx in the envelope or 4xx as a problem, every time."""

    @given(body=bodies, sent=headers, kind=kinds | st.just("application/json"))
    @settings(FUZZED, max_examples=100)
    def ask(body: bytes, sent: dict[str, str], kind: str) -> None:
        response = victim.http.post(
            path, content=body, headers={"content-type": kind, **sent}, timeout=TIMEOUT_S
        )
        if response.status_code < 300:
            data = response.json()["data"]
            assert data["failed"] == len(data["errors"])
        else:
            assert response.status_code in (400, 403, 409, 413, 415, 422), response.text
            assert response.headers["content-type"] == PROBLEM
            assert response.json()["code"]

    ask()


def test_what_was_taken_can_be_read(victim: Running) -> None:
    """After all of that every page of events, sessions and the quarantine is there, and the books balance."""
    for path in ("/v1/usage-events", "/v1/sessions", "/v1/intake/quarantine"):
        cursor: dict[str, str] = {}
        while True:
            answer = victim.http.get(path, params={"limit": "1000", **cursor})
            assert answer.status_code == 200, answer.text
            if (following := answer.json()["meta"]["nextCursor"]) is None:
                break
            cursor = {"cursor": following}
    balance = victim.data("/v1/intake/balance")
    assert balance["received"] == sum(
        balance[outcome] for outcome in ("recorded", "duplicates", "conflicts", "rejected")
    )
    assert balance["recorded"] > 0
