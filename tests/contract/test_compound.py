"""Compound events: several measurements of one call, which share a correlation id."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from tests.collector.running import Running, Start

from .events import instant, name, recorded, refused, send, took

ONE, MANY = "/api/v1/ingest/compound", "/api/v1/ingest/compound/batch"


def compound(customer_id: str, *metrics: str, **more: Any) -> dict[str, Any]:
    """A compound event that measures 2 of each metric."""
    measured = [{"metricName": metric, "quantity": 2} for metric in metrics]
    return {"correlationId": str(uuid4()), "customerId": customer_id, "measurements": measured} | more


def test_every_measurement_is_a_row_of_one_correlation(collector: Running) -> None:
    """N measurements are n events that carry the correlation id, and are duplicates when they come again."""
    acme = name()
    sent = compound(acme, "api_calls", "api.steps", occurredAt=instant(hours=1), metadata={"region": "eu"})
    sent["measurements"].append({"metricName": "api_calls", "quantity": 3, "dimensionKey": "gpt-4o"})
    for accepted in (3, 0):
        assert took(send(collector, ONE, sent))["accepted"] == accepted
        assert took(send(collector, MANY, {"events": [sent]}), 202)["duplicates"] == 3
    found = recorded(collector, acme)
    assert [one["quantity"] for one in found] == ["2", "2", "3"]
    assert {one["correlationId"] for one in found} == {sent["correlationId"]}
    assert {one["metadata"]["region"] for one in found} == {"eu"}
    assert [one.get("dimensionKey") for one in found] == [None, None, "gpt-4o"]


@pytest.mark.parametrize("spelled", ["idempotencyKey", "idempotency_key", "event_id"])
def test_a_key_tells_calls_of_one_correlation_apart(collector: Running, spelled: str) -> None:
    """The key of a compound event holds under any spelling; a blank one is none, and then its correlation id is it."""
    acme, correlation = name(), str(uuid4())
    keys = [name("key"), name("key")]
    for key in (*keys, keys[0]):
        sent = {**compound(acme, "api_calls", correlationId=correlation), spelled: key}
        took(send(collector, ONE, sent))
    assert [one["idempotencyKey"] for one in recorded(collector, acme)] == [f"{key}:0" for key in keys]
    for blank in ("", " "):
        sent = {**compound(acme, "api_calls"), spelled: blank}
        assert took(send(collector, ONE, sent))["accepted"] == 1
        assert recorded(collector, acme)[-1]["idempotencyKey"] == f"{sent['correlationId']}:0"


def test_a_compound_event_may_be_spelled_in_snake_case(collector: Running) -> None:
    """Every name of it, and what a measurement says itself holds against what the event says."""
    acme = name()
    sent = {
        "correlation_id": str(uuid4()), "customer_id": acme, "metricName": "api.steps", "quantity": 9,
        "measurements": [{"metric_name": "api_calls", "value": 2}, {"metric": "api_calls"}],
    }  # fmt: skip
    assert took(send(collector, ONE, sent))["accepted"] == 2
    found = recorded(collector, acme)
    assert [(one["metricName"], one["quantity"]) for one in found] == [("api_calls", "2"), ("api_calls", "9")]
    assert {one["correlationId"] for one in found} == {sent["correlation_id"]}


def test_what_a_call_cost_is_counted_once(collector: Running) -> None:
    """However much of a call is measured, its stated cost is on one of the events only."""
    acme, session_id = name(), name("session")
    more = {"sessionId": session_id, "metadata": {"total_provider_cost": "0.25"}}
    took(send(collector, ONE, compound(acme, *["api_calls"] * 5, **more)))
    assert collector.data(f"/v1/sessions/{session_id}")["totals"]["providerCost"] == "0.25"


@pytest.mark.parametrize(
    "said", [{"dimensionKey": "gpt-4o"}, {"dimension_key": "gpt-4o"}, {"model": "gpt-4o"}]
)
def test_the_dimension_of_measured_tokens_is_their_model(collector: Running, said: dict[str, str]) -> None:
    """Tokens that a gateway measures name their model as `dimensionKey`: they cost what that model costs."""
    session_id = name("session")
    sent = compound(name(), sessionId=session_id, productType="AI_AGENT")
    for pool, count in (("input", 1000), ("output", 100)):
        sent["measurements"].append({"metricName": f"ai_agent.{pool}_tokens", "quantity": count, **said})
    took(send(collector, ONE, sent))
    totals = collector.data(f"/v1/sessions/{session_id}")["totals"]
    assert (totals["providerCost"], totals["unpricedCalls"]) == ("0.0035", 0)
    events = collector.data("/v1/usage-events", sessionId=session_id)
    assert {event["model"] for event in events} == {"gpt-4o"}


TOKENS = {"input_tokens": 2, "outputTokens": 2}
MODEL = {"model": "gpt-4o"}


@pytest.mark.parametrize("where", ["metadata", "properties"])
@pytest.mark.parametrize(
    ("metrics", "said", "tokens", "cost"),
    [
        (("input_tokens", "output_tokens"), MODEL, (2, 2), "0.000025"),
        (("input_tokens", "output_tokens"), MODEL | TOKENS, (2, 2), "0.000025"),
        (("steps", "input_tokens", "output_tokens"), MODEL | TOKENS, (2, 2), "0.000025"),
        (("steps", "output_tokens"), MODEL | TOKENS, (2, 2), "0.000025"),
        (("input_tokens", "output_tokens"), MODEL | {"total_provider_cost": "0.25"}, (2, 2), "0.25"),
        (("steps", "input_tokens"), MODEL | TOKENS | {"total_provider_cost": "0.25"}, (2, 2), "0.25"),
        (("steps", "input_tokens"), MODEL | {"total_provider_cost": None}, (2, 0), "0.000005"),
        (("steps", "provider_cost"), MODEL | TOKENS | {"total_provider_cost": "2"}, (2, 2), "2"),
        (("provider_cost", "input_tokens"), MODEL, (2, 0), "2"),
    ],
)
def test_tokens_and_cost_of_a_call_are_counted_once(
    collector: Running, where: str, metrics: tuple[str, ...], said: dict[str, Any], tokens: Any, cost: str
) -> None:
    """Measured, stated beside the measurements, or both: what the call used is in its session once."""
    acme, session_id = name(), name("session")
    full = [f"ai_agent.{metric}" for metric in metrics]
    for names, more in ((full, {}), (metrics, {"productType": "ai_agent"})):
        sent = compound(acme, *names, sessionId=session_id, **{where: said}, **more)
        assert took(send(collector, ONE, sent))["accepted"] == len(metrics)
    totals = collector.data(f"/v1/sessions/{session_id}")["totals"]
    assert (totals["tokens"]["input"], totals["tokens"]["output"]) == (2 * tokens[0], 2 * tokens[1])
    assert Decimal(totals["providerCost"]) == 2 * Decimal(cost)


def test_a_unit_of_the_catalog_counts_no_tokens_of_a_call(start: Start) -> None:
    """Whatever it is called: what the call used is told beside it, and counted once all the same."""
    collector = start("--dev")
    units = [{"name": "input_tokens"}, {"name": "output_tokens"}]
    collector.http.put("/v1/catalog", json={"billable_units": units}).raise_for_status()
    sent = compound("acme", "input_tokens", "output_tokens", sessionId="s", metadata=MODEL | TOKENS)
    assert took(send(collector, ONE, sent))["accepted"] == 2
    totals = collector.data("/v1/sessions/s")["totals"]
    assert (totals["tokens"]["input"], totals["tokens"]["output"]) == (2, 2)
    assert totals["providerCost"] == "0.000025"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *(({"correlationId": wrong}, "INVALID_CORRELATION_ID") for wrong in ("not-a-uuid", None, 3)),
        ({"measurements": []}, "INVALID_MEASUREMENTS"),
        ({"measurements": None}, "INVALID_MEASUREMENTS"), ({"measurements": {"a": 1}}, "INVALID_MEASUREMENTS"),
        ({"measurements": [3]}, "INVALID_MEASUREMENTS"), ({"customerId": " "}, "MISSING_FIELD"),
        ({"measurements": [{"metricName": "api_calls", "quantity": 1}] * 51}, "INVALID_MEASUREMENTS"),
        ({"measurements": [{"metricName": "api_calls", "quantity": -1}]}, "INVALID_QUANTITY"),
    ],
)  # fmt: skip
def test_a_wrong_compound_event_is_refused(collector: Running, change: dict[str, Any], code: str) -> None:
    """400 alone; in a batch its error stands at its index, and the others are taken."""
    acme = name()
    wrong = compound(acme, "api_calls") | change
    refused(send(collector, ONE, wrong), 400, code)
    assert recorded(collector, acme) == []
    events = [compound(acme, "api_calls", "api_calls"), wrong, compound(acme, "api_calls")]
    data = took(send(collector, MANY, {"events": events}), 202)
    assert (data["accepted"], data["failed"]) == (3, 1)
    [error] = data["errors"]
    assert (error["index"], error["measurement"], error["code"]) == (1, 0, code)


def test_fifty_measurements_are_taken(collector: Running) -> None:
    """The most measurements that a compound event may have."""
    acme = name()
    assert took(send(collector, ONE, compound(acme, *["api_calls"] * 50)))["accepted"] == 50
    assert len(recorded(collector, acme)) == 50


def test_one_unknown_metric_costs_only_its_measurement(collector: Running) -> None:
    """The others are recorded, and sending it again says the same of it; alone it is 422."""
    acme = name()
    sent = compound(acme, "api_calls", "unknown_unit", "api_calls")
    for counts in ((2, 0), (0, 2)):
        data = took(send(collector, ONE, sent))
        assert (data["accepted"], data["duplicates"], data["failed"]) == (*counts, 1)
        [error] = data["errors"]
        assert (error["index"], error["measurement"], error["code"]) == (0, 1, "UNKNOWN_METRIC")
    refused(send(collector, ONE, compound(acme, "unknown_unit")), 422, "UNKNOWN_METRIC")
    assert len(recorded(collector, acme)) == 2


def test_a_batch_in_which_everything_is_wrong_is_answered(collector: Running) -> None:
    """25,000 refusals, each told with its event and its measurement."""
    wrong = [compound("acme", *["no"] * 50) for _ in range(500)]
    data = took(send(collector, MANY, {"events": wrong}), 202)
    assert data["failed"] == len(data["errors"]) == 25_000
    places = [(error["index"], error["measurement"]) for error in data["errors"]]
    assert places == [(event, number) for event in range(500) for number in range(50)]
