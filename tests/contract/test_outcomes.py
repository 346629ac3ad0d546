"""What becomes of events: new, duplicate, conflict, refused; one by one and in batches (appendix A, 1 to 6)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.collector.running import Running, Start

from .events import MANY, SINGLE, body_for, event, instant, name, recorded, refused, send, took


def counts(data: dict[str, Any]) -> tuple[int, int, int, int]:
    """Accepted, duplicates, conflicts and failed of an answer."""
    return data["accepted"], data["duplicates"], data["conflicts"], data["failed"]


def test_a_batch_is_accepted_once(collector: Running) -> None:
    """202 with one accepted; the same body again is as many duplicates and no second row, on either batch route."""
    acme = name()
    events = [event(acme) for _ in range(3)]
    for path in ("/v1/ingest/batch", "/v1/ingest/batch", "/v1/ingest/async-batch", "/api/v1/ingest/batch"):
        data = took(send(collector, path, body_for(path, *events)), 202)
        assert counts(data) in ((3, 0, 0, 0), (0, 3, 0, 0))
    assert len(recorded(collector, acme)) == 3


def test_one_bad_event_costs_only_itself(collector: Running) -> None:
    """An unknown metric in the middle: 202, the others accepted, the error at its index."""
    acme = name()
    events = [event(acme), event(acme, metricName="unknown_unit"), event(acme)]
    data = took(send(collector, "/v1/ingest/batch", {"events": events}), 202)
    assert counts(data) == (2, 0, 0, 1)
    [error] = data["errors"]
    assert (error["index"], error["code"], error["field"]) == (1, "UNKNOWN_METRIC", "metricName")
    assert "unknown_unit" in error["message"]


def test_a_batch_of_one_unknown_metric_is_still_202(collector: Running) -> None:
    """The contract's own example: accepted 0, failed 1, one error at index 0, and the request is done."""
    data = took(
        send(collector, "/v1/ingest/batch", {"events": [event(name(), metricName="unknown_unit")]}), 202
    )
    assert counts(data) == (0, 0, 0, 1)
    assert [error["index"] for error in data["errors"]] == [0]


@pytest.mark.parametrize("odd", [None, 3, "text", [], True, {}, {"customerId": 1}])
def test_what_is_no_event_is_refused_alone(collector: Running, odd: Any) -> None:
    """Whatever stands in the list beside a good event, the good one is recorded."""
    acme = name()
    data = took(send(collector, "/v1/ingest/batch", {"events": [odd, event(acme)]}), 202)
    assert counts(data) == (1, 0, 0, 1)
    assert [error["index"] for error in data["errors"]] == [0]
    assert len(recorded(collector, acme)) == 1


@pytest.mark.parametrize(
    "odd",
    ["1e9999999999999999999", "1e-9999999999999999999", "1" + "0" * 5_000, r'"\ud83d"', r'{"\udc00": 1}'],
    ids=["exponent", "small", "digits", "half a character", "half a character's name"],
)
@pytest.mark.parametrize("path", [*MANY, "/api/v1/ingest/compound/batch"])
def test_what_no_value_can_hold_costs_its_event_alone(collector: Running, path: str, odd: str) -> None:
    """A number or a text that is JSON and nothing more, anywhere in one event: the others are recorded."""
    acme = name()
    whole = json.dumps(body_for(path, event(acme), event(acme, metadata={"x": "ODD"}), event(acme)))
    data = took(send(collector, path, whole.replace('"ODD"', odd).encode()), 202)
    assert counts(data) == (2, 0, 0, 1)
    assert [(error["index"], error["code"]) for error in data["errors"]] == [(1, "MALFORMED_EVENT")]
    assert len(recorded(collector, acme)) == 2


@pytest.mark.parametrize("path", SINGLE)
def test_an_unknown_metric_alone_is_422(collector: Running, path: str) -> None:
    """One event of a metric that the catalog does not have: UNKNOWN_METRIC, naming it; nothing is recorded."""
    acme = name()
    body = body_for(path, event(acme, metricName="unknown_unit"))
    problem = refused(send(collector, path, body), 422, "UNKNOWN_METRIC")
    assert "unknown_unit" in problem["detail"]
    assert recorded(collector, acme) == []


def test_a_tenant_lets_unknown_metrics_wait(start: Start) -> None:
    """They are accepted and no error, wait in the quarantine, and are recorded from there once, with their unit."""
    collector = start("--dev")
    catalog: dict[str, Any] = {"unknown_metrics": "quarantine"}
    collector.http.put("/v1/catalog", json=catalog).raise_for_status()
    one, other = event("acme", metricName="early"), event("acme", metricName="early")
    for path in SINGLE[:2]:
        data = took(send(collector, path, one), 202)
        assert (counts(data), data["quarantined"], data["errors"]) == ((1, 0, 0, 0), 1, [])
    mixed = [event("acme"), other, event("acme", quantity=-1)]
    data = took(send(collector, "/v1/ingest/batch", {"events": mixed}), 202)
    assert (counts(data), data["quarantined"]) == ((2, 0, 0, 1), 1)
    assert [error["index"] for error in data["errors"]] == [2]
    assert len(recorded(collector, "acme")) == 1

    collector.http.put(
        "/v1/catalog", json=catalog | {"billable_units": [{"name": "early"}]}
    ).raise_for_status()
    for aside in collector.data("/v1/intake/quarantine"):
        collector.http.post(
            f"/v1/intake/quarantine/{aside['quarantineId']}/replay", json={}
        ).raise_for_status()
    found = [found["idempotencyKey"] for found in recorded(collector, "acme", metricName="early")]
    assert sorted(found) == sorted([one["idempotencyKey"], other["idempotencyKey"]])
    balance = collector.data("/v1/intake/balance")
    outcomes = ("recorded", "duplicates", "conflicts", "rejected")
    assert balance["received"] == sum(balance[outcome] for outcome in outcomes)


def test_a_dry_run_says_what_would_happen(collector: Running) -> None:
    """`/v1/ingest/test` answers as the real route would, also for duplicates and conflicts, and records nothing."""
    acme = name()
    one = event(acme)
    path = "/v1/ingest/test"
    before = collector.data("/v1/intake/balance")
    assert took(send(collector, path, one)) | {"accepted": 1, "dryRun": True} == took(
        send(collector, path, one)
    )
    refused(send(collector, path, event(acme, metricName="unknown_unit")), 422, "UNKNOWN_METRIC")
    refused(send(collector, path, event(acme, quantity=-1)), 400, "INVALID_QUANTITY")
    assert collector.data("/v1/intake/balance") == before
    took(send(collector, "/v1/ingest", one))
    assert counts(took(send(collector, path, one))) == (0, 1, 0, 0)
    refused(send(collector, path, one | {"quantity": 2}), 409, "CONFLICT")
    assert len(recorded(collector, acme)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("customerId", "another"), ("metricName", "api.steps"), ("quantity", 2),
        pytest.param("occurredAt", instant(hours=1), id="occurredAt"),
        ("sessionId", "s"), ("agentId", "a"), ("traceId", "t"), ("toolName", "search"), ("executionStatus", "ERROR"),
        ("executionDurationMs", 5), ("productType", "AI_AGENT"), ("metadata", {"region": "us"}),
        ("metadata", {"region": "eu", "n": 1}), ("statusCode", 200), ("surprise", 1),
    ],
)  # fmt: skip
def test_a_key_used_for_other_contents_is_a_conflict(collector: Running, field: str, value: Any) -> None:
    """409 alone and an error in a batch, whatever differs; the first stands, the other is in the quarantine."""
    acme = name()
    one = event(acme, occurredAt=instant(minutes=3), metadata={"region": "eu"})
    other = one | {field: value}
    took(send(collector, "/v1/ingest", one))
    problem = refused(send(collector, "/v1/ingest", other), 409, "CONFLICT")
    assert one["idempotencyKey"] in problem["detail"]
    data = took(send(collector, "/v1/ingest/batch", {"events": [other, one, event(acme)]}), 202)
    assert counts(data) == (1, 1, 1, 1)
    assert (data["errors"][0]["index"], data["errors"][0]["code"]) == (0, "CONFLICT")
    latest = collector.data("/v1/intake/quarantine")[0]
    assert (latest["code"], latest["door"]) == ("CONFLICT", "http")
    assert one["idempotencyKey"] in latest["detail"]
    [first, _] = recorded(collector, acme)
    assert (first["quantity"], first["metadata"]) == ("1", {"region": "eu"})


@pytest.mark.parametrize(
    "same",
    [
        {"quantity": 1.0}, {"note": None}, {"metadata": {"b": 2, "a": 1}},
        {"customer_id": "ignored: the contract's spelling is there"},
    ],
)  # fmt: skip
def test_the_same_event_written_otherwise_is_a_duplicate(collector: Running, same: dict[str, Any]) -> None:
    """The order of fields, trailing zeros, nulls and unused aliases are no other contents."""
    acme = name()
    one = event(acme, metadata={"a": 1, "b": 2})
    took(send(collector, "/v1/ingest", one))
    other = dict(reversed((one | same).items()))
    assert counts(took(send(collector, "/v1/ingest", other))) == (0, 1, 0, 0)


def test_keys_count_within_one_batch(collector: Running) -> None:
    """Twice the same event in a batch is one and a duplicate; the same key otherwise is a conflict with the first."""
    acme = name()
    one = event(acme)
    data = took(send(collector, "/v1/ingest/batch", {"events": [one, one, one | {"quantity": 2}]}), 202)
    assert counts(data) == (1, 1, 1, 1)
    assert [error["index"] for error in data["errors"]] == [2]
    [found] = recorded(collector, acme)
    assert found["quantity"] == "1"


def test_keys_hold_through_restarts(start: Start) -> None:
    """After a stop and after a kill a key is still known, and so is what was said under it."""
    acme = name()
    one = event(acme)
    for end in ("stop", "kill", "stop"):
        collector = start("--dev")
        data = took(send(collector, "/v1/ingest/batch", {"events": [one, one | {"quantity": 7}]}), 202)
        assert data["accepted"] + data["duplicates"] == data["conflicts"] == 1
        assert len(recorded(collector, acme)) == 1
        getattr(collector, end)()


def test_a_refused_key_can_be_used(collector: Running) -> None:
    """An event that was refused has used no key: mended, it is recorded under the same one."""
    acme = name()
    wrong = event(acme, quantity=-1)
    refused(send(collector, "/v1/ingest", wrong), 400, "INVALID_QUANTITY")
    assert counts(took(send(collector, "/v1/ingest", wrong | {"quantity": 1}))) == (1, 0, 0, 0)


def test_what_was_sent_is_what_the_books_say(start: Start) -> None:
    """Received = recorded + duplicates + conflicts + rejected, and received is what was sent, event by event."""
    collector = start("--dev")
    acme = name()
    one = event(acme)
    mixed = [
        one,
        one,
        one | {"quantity": 2},
        event(acme, quantity=-1),
        event(acme, metricName="no"),
        3,
        event(acme),
    ]
    took(send(collector, "/v1/ingest/batch", {"events": mixed}), 202)
    took(send(collector, "/v1/ingest/async-batch", [one, event(acme)]), 202)
    took(send(collector, "/v1/ingest", one))
    refused(send(collector, "/v1/ingest", one | {"quantity": 5}), 409, "CONFLICT")
    refused(send(collector, "/v1/ingest", event(acme, metricName="no")), 422, "UNKNOWN_METRIC")
    refused(send(collector, "/v1/ingest", b"{"), 400, "MALFORMED_BODY")
    balance = collector.data("/v1/intake/balance")
    outcomes = {
        name: balance[name] for name in ("received", "recorded", "duplicates", "conflicts", "rejected")
    }
    assert outcomes == {"received": 12, "recorded": 3, "duplicates": 3, "conflicts": 2, "rejected": 4}
    assert balance["doors"] == {"http": outcomes}
