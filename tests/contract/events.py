"""Usage events as senders write them, and what became of them."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from tests.collector.running import Running

SINGLE = ("/v1/ingest", "/v1/meter", "/v1/ingest/events")
MANY = ("/v1/ingest/batch", "/v1/ingest/async-batch")
COMPOUND = ("/api/v1/ingest/compound", "/api/v1/ingest/compound/batch")
ALIASED = (*SINGLE, "/v1/ingest/test", *MANY)
ROUTES = (*ALIASED, *(f"/api{path}" for path in ALIASED), *COMPOUND)
"""Every route that takes usage events in bodies."""

JSON = {"content-type": "application/json"}
PROBLEM = "application/problem+json"


def name(what: str = "customer") -> str:
    """A name that nothing else uses."""
    return f"{what}-{secrets.token_hex(6)}"


def event(customer_id: str, **fields: Any) -> dict[str, Any]:
    """A usage event with a key of its own; a field that is None is left out."""
    made = {
        "customerId": customer_id,
        "metricName": "api_calls",
        "quantity": 1,
        "idempotencyKey": name("key"),
    }
    return {field: value for field, value in (made | fields).items() if value is not None}


def body_for(path: str, *events: dict[str, Any]) -> Any:
    """The body that takes these events to a route."""
    if path.endswith("/compound"):
        return compound(events[0])
    if path.endswith("/compound/batch"):
        return {"events": [compound(one) for one in events]}
    if path.endswith("/async-batch"):
        return list(events)
    if path.endswith("/batch"):
        return {"events": list(events)}
    return apigee(events[0]) if path.endswith("/events") else events[0]


def apigee(given: dict[str, Any]) -> dict[str, Any]:
    """The same event in the shape of `/v1/ingest/events`."""
    names = {
        "metricName": "metricKey",
        "quantity": "value",
        "occurredAt": "timestamp",
        "metadata": "properties",
    }
    return {"eventType": "usage", **{names.get(field, field): value for field, value in given.items()}}


def compound(given: dict[str, Any]) -> dict[str, Any]:
    """A compound event with the one measurement that the event is."""
    rest = {field: value for field, value in given.items() if field not in ("metricName", "quantity")}
    measured = {field: given[field] for field in ("metricName", "quantity") if field in given}
    digits = secrets.token_hex(16)
    correlation = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return {**rest, "correlationId": correlation, "measurements": [measured]}


def send(collector: Running, path: str, body: Any, **headers: str) -> httpx2.Response:
    """Post a JSON body; bytes are sent as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {**JSON, **{header.replace("_", "-").lower(): value for header, value in headers.items()}}
    return collector.http.post(path, content=content, headers=sent)


def took(response: httpx2.Response, status: int = 200) -> dict[str, Any]:
    """`data` of a successful answer, whose envelope is checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["success"] is True
    assert answer["meta"] == {"requestId": response.headers["x-request-id"]}
    data: dict[str, Any] = answer["data"]
    return data


def refused(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which is checked."""
    assert response.headers["content-type"] == PROBLEM, response.text
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), response.text
    assert set(problem) - {"errors"} == {"type", "title", "status", "code", "detail", "instance", "requestId"}
    assert "nothing was" in problem["detail"] or "nothing of" in problem["detail"] or status in (404, 405)
    return problem


def recorded(collector: Running, customer_id: str, **more: Any) -> list[dict[str, Any]]:
    """The usage events of a customer."""
    found: list[dict[str, Any]] = collector.data(
        "/v1/usage-events", customerId=customer_id, limit=1000, **more
    )
    return found


def instant(**ago: float) -> str:
    """A moment so long before now, as senders write it."""
    return (datetime.now(UTC) - timedelta(**ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
