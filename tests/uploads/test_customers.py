"""Uploads under a customer's key: the rows are that customer's, and nobody else's jobs are to be seen."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.collector.access import As, key_said
from tests.collector.running import Start

from .sending import TIMEOUT_S


@pytest.fixture
def owner(start: Start) -> As:
    """Everything allowed in a fresh collector."""
    collector = start()
    return As(collector, key_said(collector))


def uploaded(sender: As, content: bytes) -> dict[str, Any]:
    """The job of a file at its end."""
    answer = sender("POST", "/v1/ingest/upload", files={"file": ("rows.ndjson", content)})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["data"]["jobId"]
    deadline = time.monotonic() + TIMEOUT_S
    while not (job := sender.data(f"/v1/uploads/{job_id}"))["finishedAt"]:
        assert time.monotonic() < deadline, f"upload {job_id} does not end"
        time.sleep(0.02)
    found: dict[str, Any] = job
    return found


def rows(*customers: str) -> bytes:
    """A row for each customer."""
    said = [{"customerId": name, "metricName": "api_calls", "quantity": 1} for name in customers]
    return b"".join(json.dumps(row).encode() + b"\n" for row in said)


def test_the_key_decides_whose_rows_they_are(owner: As) -> None:
    """Whatever a file says, a customer's key brings that customer's usage alone; the same file is each one's own."""
    beta, gamma = owner.key(customerId="beta"), owner.key(customerId="gamma")
    content = rows("beta", "zeta", "gamma")
    for sender in (owner, beta, gamma):
        assert uploaded(sender, content)["totals"]["recorded"] == 3
        assert uploaded(sender, content)["totals"]["recorded"] == 3, "again it is the same job"
    used = owner.data("/v1/analytics/usage", groupBy="customerId")
    assert {row["customerId"]: row["eventCount"] for row in used} == {"beta": 4, "gamma": 4, "zeta": 1}


def test_a_customer_sees_its_own_jobs(owner: As) -> None:
    """Jobs of others are not there, in no list and under no path; taking back is for operators."""
    beta, gamma = owner.key(customerId="beta"), owner.key(customerId="gamma")
    jobs = {sender: uploaded(sender, rows("beta", "-"))["jobId"] for sender in (owner, beta, gamma)}
    assert [job["jobId"] for job in beta.data("/v1/uploads")] == [jobs[beta]]
    assert {job["jobId"] for job in owner.data("/v1/uploads")} == set(jobs.values())
    assert [job["jobId"] for job in owner.data("/v1/uploads", customerId="gamma")] == [jobs[gamma]]
    for path in ("", "/report", "/report.html", "/rejected"):
        assert beta("GET", f"/v1/uploads/{jobs[beta]}{path}").status_code == 200
        for other in (owner, gamma):
            assert beta("GET", f"/v1/uploads/{jobs[other]}{path}").status_code == 404
    assert beta("POST", f"/v1/uploads/{jobs[beta]}/revert").status_code == 403
    assert owner("POST", f"/v1/uploads/{jobs[beta]}/revert").status_code == 202


def test_what_is_taken_back_of_one_customer_leaves_the_others(owner: As) -> None:
    """The same file of another customer is the same job as before, and bills nothing twice."""
    beta, gamma = owner.key(customerId="beta"), owner.key(customerId="gamma")
    jobs = {sender: uploaded(sender, rows("x", "y"))["jobId"] for sender in (beta, gamma)}
    assert owner("POST", f"/v1/uploads/{jobs[beta]}/revert").status_code == 202
    assert uploaded(gamma, rows("x", "y"))["jobId"] == jobs[gamma]
    assert uploaded(beta, rows("x", "y"))["jobId"] != jobs[beta]
    used = owner.data("/v1/analytics/usage", groupBy="customerId")
    assert {row["customerId"]: row["eventCount"] for row in used} == {"beta": 2, "gamma": 2}
