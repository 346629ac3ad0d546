"""The reading routes over HTTP: envelopes, pages, closing, and errors as problem documents."""

import json
from typing import Any

import pytest

from tests.collector.running import Running
from tests.collector.wire import PROTOBUF, body, chat, customer, tool


def send(collector: Running, *spans: Any) -> None:
    """Deliver spans, all of which are recorded."""
    response = collector.http.post("/v1/traces", content=body(*spans), headers=PROTOBUF)
    assert response.status_code == 200
    assert response.content == b""


def test_answers_are_enveloped(collector: Running) -> None:
    """2xx bodies are {"success": true, "data": …, "meta": {…}}; lists give the next cursor in meta."""
    answer = collector.http.get("/v1/sessions").json()
    assert (answer["success"], list(answer)) == (True, ["success", "data", "meta"])
    assert isinstance(answer["data"], list)
    assert "nextCursor" in answer["meta"]
    assert collector.http.get("/v1/intake/balance").json()["meta"] == {}


def test_a_session_is_closed_once_with_all_that_was_acknowledged(collector: Running) -> None:
    """Closing includes everything sent before, writes one final event, and may be asked for again."""
    acme, session_id = customer(), f"thread/{customer()}"
    send(collector, chat(acme, aforo__session__id=session_id), tool(acme, aforo__session__id=session_id))
    path = f"/v1/sessions/{session_id}"
    assert collector.data(path)["state"] == "ACTIVE"
    closed = collector.http.post(f"{path}/close").json()["data"]
    assert (closed["state"], closed["closeReason"]) == ("CLOSED", "EXPLICIT")
    assert closed["totals"]["modelCalls"] == closed["totals"]["toolCalls"] == 1
    assert collector.http.post(f"{path}/close").json()["data"] == closed == collector.data(path)
    events = collector.data("/v1/usage-events", sessionId=session_id)
    [final] = [event for event in events if event["metricName"] == "agentic_api.sessions"]
    assert final["metadata"]["totals"] == closed["totals"]
    assert final["closeReason"] == "EXPLICIT"


def test_the_trace_of_a_session_shows_its_spans_with_their_events(collector: Running) -> None:
    """Every usage event of a call is named at its span, and every attribute is there."""
    acme, session_id = customer(), customer()
    parent, child = chat(acme, aforo__session__id=session_id), tool(acme, aforo__session__id=session_id)
    child.trace_id, child.parent_span_id = parent.trace_id, parent.span_id
    send(collector, child, parent)
    [root] = collector.data(f"/v1/sessions/{session_id}/trace")["roots"]
    assert (root["spanId"], [node["spanId"] for node in root["children"]]) == (
        parent.span_id.hex(), [child.span_id.hex()],
    )  # fmt: skip
    assert root["attributes"]["gen_ai.usage.input_tokens"] == 1000
    named = {event for node in (root, *root["children"]) for event in node["usageEvents"]}
    events = collector.data("/v1/usage-events", sessionId=session_id)
    assert named == {event["eventId"] for event in events}


def test_pages_are_followed_by_cursor(collector: Running) -> None:
    """Reading page by page gives what one large page gives."""
    acme = customer()
    send(collector, *[tool(acme) for _ in range(7)])
    whole = collector.data("/v1/usage-events", customerId=acme, limit=1000)
    found, cursor = [], None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        answer = collector.http.get("/v1/usage-events", params={"customerId": acme, "limit": 3} | more).json()
        found += answer["data"]
        cursor = answer["meta"]["nextCursor"]
        if cursor is None:
            break
    assert found == whole


def test_two_customers_may_use_one_session_id(collector: Running) -> None:
    """Without customerId such a session is ambiguous, 422; with it each sees and closes its own."""
    one, two, session_id = customer(), customer(), customer()
    send(collector, *[tool(payer, aforo__session__id=session_id) for payer in (one, two)])
    path = f"/v1/sessions/{session_id}"
    for method, where in [("GET", path), ("GET", f"{path}/trace"), ("POST", f"{path}/close")]:
        response = collector.http.request(method, where)
        assert (response.status_code, response.json()["code"]) == (422, "INVALID_PARAMETER")
        assert response.json()["errors"][0]["parameter"] == "customerId"
    collector.http.post(f"{path}/close", params={"customerId": one})
    states = [collector.data(path, customerId=payer)["state"] for payer in (one, two)]
    assert states == ["CLOSED", "ACTIVE"]


def test_quarantine_keeps_what_nobody_pays_for(collector: Running) -> None:
    """A span without a customer is set aside with its reason; it is not lost and not billed."""
    span = tool(None)
    send(collector, span)
    found = collector.data("/v1/intake/quarantine", limit=1000)
    [item] = [item for item in found if item["traceId"] == span.trace_id.hex()]
    assert (item["code"], item["spanId"], item["door"]) == ("NO_CUSTOMER", span.span_id.hex(), "otlp")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/v1/sessions/none", 404, "NOT_FOUND"),
        ("GET", "/v1/sessions/none/trace", 404, "NOT_FOUND"),
        ("POST", "/v1/sessions/none/close", 404, "NOT_FOUND"),
        ("GET", "/v1/invoices/preview?customerId=none", 404, "NOT_FOUND"),
        ("GET", "/v1/invoices/preview/lines/0/events?customerId=none", 404, "NOT_FOUND"),
        ("DELETE", "/v1/sessions", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/traces", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/sessions?state=ASLEEP", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/sessions?limit=0", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/sessions?limit=many", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/sessions?cursor=made-up", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/usage-events?traceId=xyz", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/usage-events?limit=1001", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/invoices/preview", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/invoices/preview?customerId=a&from=yesterday", 422, "INVALID_PARAMETER"),
        (
            "GET",
            "/v1/invoices/preview?customerId=a&from=0001-01-01T00:00:00%2B14:00",
            422,
            "INVALID_PARAMETER",
        ),
        ("GET", "/v1/invoices/preview/lines/-1/events?customerId=a", 422, "INVALID_PARAMETER"),
        ("GET", "/v1/prices/gpt-4o?at=9999-12-31T23:59:59-14:00", 422, "INVALID_PARAMETER"),
        ("PUT", "/v1/catalog", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_errors_are_problem_documents(
    collector: Running, method: str, path: str, status: int, code: str
) -> None:
    """Whatever goes wrong is said as RFC 9457, with a stable code and the id of the request."""
    response = collector.http.request(method, path, headers={"X-Request-Id": "ask-1"})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (
        (problem["status"], problem["requestId"])
        == (status, response.headers["x-request-id"])
        == (status, "ask-1")
    )
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"]
    assert ("errors" in problem) == (status == 422)


def test_request_ids_are_made_when_none_is_given(collector: Running) -> None:
    """Every answer has an id of its own, and text that could split a header is not taken over."""
    ids = {collector.http.get("/livez").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    long = collector.http.get("/livez", headers={"X-Request-Id": "x" * 200}).headers["x-request-id"]
    assert len(long) < 100


def test_health_and_metrics_need_no_key(start: Any) -> None:
    """Orchestrators and Prometheus ask without a credential, and get the books' figures."""
    collector = start()
    for path in ("/livez", "/readyz"):
        assert collector.http.get(path).json() == {"status": "ok"}
    key = next(line for line in collector.said if "sk_live_" in line).split()[-1]
    acme = customer()
    content = body(tool(acme), chat(acme, gen_ai__usage__input_tokens=-1))
    for _ in range(2):
        collector.http.post("/v1/traces", content=content, headers=PROTOBUF | {"X-API-Key": key})
    response = collector.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    values = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    figures = [
        float(values[f'aforo_{outcome}_total{{door="otlp"}}'])
        for outcome in ("received", "recorded", "duplicates", "conflicts", "rejected")
    ]
    assert figures == [4, 1, 1, 0, 2]
    assert float(values["aforo_sessions_opened_total"]) == 1
    assert float(values["aforo_queue_length"]) == 0
    assert float(values["aforo_commits_total"]) >= 2
    assert "process_resident_memory_bytes" in values


def test_openapi_names_every_route(collector: Running) -> None:
    """/openapi.json is an OpenAPI 3.1 document, and each of its operations says what it does."""
    document = collector.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for wanted in [
        ("POST", "/v1/traces"), ("GET", "/v1/sessions"), ("GET", "/v1/sessions/{session_id}"),
        ("POST", "/v1/sessions/{session_id}/close"), ("GET", "/v1/sessions/{session_id}/trace"),
        ("GET", "/v1/usage-events"), ("GET", "/v1/invoices/preview"), ("PUT", "/v1/catalog"),
        ("GET", "/v1/invoices/preview/lines/{line}/events"), ("GET", "/v1/catalog"),
        ("GET", "/v1/intake/balance"), ("GET", "/v1/intake/quarantine"), ("GET", "/readyz"),
    ]:  # fmt: skip
        assert wanted in operations
    assert all(operation.get("summary") or operation.get("description") for operation in operations.values())
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)
    json.dumps(document, allow_nan=False)


def test_usage_is_added_up_by_several_keys(collector: Running) -> None:
    """Keys come with commas or one by one; money is decimal text, its currency in meta; pages go on."""
    acme = customer()
    send(collector, chat(acme), tool(acme), tool(acme, name="write"))
    asked = {"customerId": acme, "metricName": "agentic_api.tool_calls"}
    rows = collector.data("/v1/analytics/usage", groupBy="toolName,executionStatus", **asked)
    sums = {"quantity": "1", "eventCount": 1, "providerCost": "0", "revenue": "0", "unpricedCalls": 0}
    assert rows == [{"toolName": name, "executionStatus": "SUCCESS"} | sums for name in ("lookup", "write")]
    repeated = [("groupBy", "toolName"), ("groupBy", "executionStatus"), *asked.items(), ("limit", 1)]
    answer = collector.http.get("/v1/analytics/usage", params=repeated).json()
    assert (answer["data"], answer["meta"]["currency"]) == (rows[:1], "USD")
    more = [*repeated, ("cursor", answer["meta"]["nextCursor"])]
    answer = collector.http.get("/v1/analytics/usage", params=more).json()
    assert (answer["data"], answer["meta"]["nextCursor"]) == (rows[1:], None)
    by_model = collector.data("/v1/analytics/usage", groupBy="model", customerId=acme)
    assert [row["providerCost"] for row in by_model if row["model"]] == ["0.00021"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"groupBy": "planet"},
        {"from": "soon"},
        {"cursor": "x"},
        {"limit": "0"},
        {"from": "2026-02-01", "to": "2026-01-01"},
    ],
)
def test_usage_that_makes_no_sense_is_a_problem(collector: Running, parameters: dict[str, str]) -> None:
    """422 with the name of the parameter."""
    response = collector.http.get("/v1/analytics/usage", params=parameters)
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] in parameters


def test_a_period_ends_where_to_says(collector: Running) -> None:
    """`to` bounds invoices as it bounds usage."""
    acme = customer()
    send(collector, tool(acme))
    period = {"customerId": acme, "from": "2020-01-01", "to": "2020-02-01"}
    assert collector.data("/v1/invoices/preview", **period)["to"].startswith("2020-02-01")
    assert collector.data("/v1/analytics/usage", **period) == []
    assert collector.data("/v1/analytics/usage", customerId=acme) != []
