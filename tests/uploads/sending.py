"""Files of usage events, and a client that uploads them and waits for the end of the job."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from tests.collector.running import Running

TIMEOUT_S = 60


def ago(**units: float) -> str:
    """A moment so long ago, as it stands in a file."""
    return (datetime.now(UTC) - timedelta(**units)).strftime("%Y-%m-%dT%H:%M:%SZ")


def send(collector: Running, name: str, content: bytes, **fields: str) -> httpx2.Response:
    """Upload a file; the answer."""
    return collector.http.post("/v1/ingest/upload", files={"file": (name, content)}, data=fields)


def ended(collector: Running, job_id: str) -> dict[str, Any]:
    """A job, once it is over and nothing is being taken back."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        job: dict[str, Any] = collector.data(f"/v1/uploads/{job_id}")
        totals = job["totals"]
        books = sum(totals[outcome] for outcome in ("recorded", "duplicates", "conflicts", "rejected"))
        assert totals["received"] == books, "the books balance at every moment"
        if job["finishedAt"] and (job["reversal"] or {}).get("state") != "REVERTING":
            return job
        time.sleep(0.02)
    raise AssertionError(f"upload {job_id} does not end")


def upload(collector: Running, name: str, content: bytes, **fields: str) -> dict[str, Any]:
    """Upload a file and wait; the job at its end."""
    answer = send(collector, name, content, **fields)
    assert answer.status_code == 202, answer.text
    return ended(collector, answer.json()["data"]["jobId"])


def events(collector: Running, customer: str) -> dict[str, Any]:
    """{key: quantity} of the usage events of a customer."""
    found: dict[str, Any] = {}
    cursor = None
    while True:
        answer = collector.http.get(
            "/v1/usage-events",
            params={"customerId": customer, "limit": 1000, **({"cursor": cursor} if cursor else {})},
        ).json()
        for event in answer["data"]:
            assert event["idempotencyKey"] not in found, "no event stands there twice"
            found[event["idempotencyKey"]] = event["quantity"]
        cursor = answer["meta"]["nextCursor"]
        if cursor is None:
            return found
