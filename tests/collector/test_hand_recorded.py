"""Usage that a program records itself: filters and prices look at its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aforo_collector.domain.catalog_file import parse
from aforo_collector.domain.usage import Kind

from . import readings
from .engine import Engine, body, span

CATALOG = {
    "currency": "USD",
    "billable_units": [
        {"name": "requests", "filter": [{"field": "status_code", "operator": "LESS_THAN", "value": "400"}]}
    ],
    "rate_plans": [
        {
            "code": "pro",
            "prices": [
                {
                    "metric": "requests", "model": "PER_UNIT", "unit_price": "0.5",
                    "outcome_weights": {"SUCCESS": "1", "ERROR": "0"},
                }
            ],
        }
    ],
    "products": [{"code": "gateway", "type": "AGENTIC_API", "rate_plan": "pro"}],
    "customers": [{"id": "acme", "products": ["gateway"]}],
}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with a filtered unit and a price by outcome."""
    made = Engine(tmp_path, parse(CATALOG))
    yield made
    made.database.close()


@pytest.mark.parametrize(
    ("metadata", "amount", "standing"),
    [
        ('{"status_code": 200}', "1.50", "billed"),
        ('{"status_code": "399", "executionStatus": "SUCCESS"}', "1.50", "billed"),
        ('{"status_code": 200, "executionStatus": "ERROR"}', "0.00", "billed"),
        ('{"status_code": 399.5}', "1.50", "billed"),
        ('{"status_code": 500}', "0.00", "filtered"),
        ("{}", "0.00", "filtered"),
    ],
)
def test_filters_and_outcomes_decide_what_counts(
    engine: Engine, metadata: str, amount: str, standing: str
) -> None:
    """An event counts toward its unit only if the unit's conditions hold, at the weight of its outcome; its trace
    says so.
    """
    made = readings.recorded(1, "requests", "3", metadata, aforo__customer__id="acme")
    [receipt] = engine.send(body([made]))
    invoice = readings.reading(engine).invoice_preview(engine.tenant_no, "acme")
    trace = readings.reading(engine).trace(engine.tenant_no, (1).to_bytes(16).hex())

    assert receipt.recorded == 1
    assert invoice is not None
    assert invoice["total"] == amount
    assert trace is not None
    assert [root["standing"] for root in trace["roots"]] == [standing]


@pytest.mark.parametrize("odd", ["1e9999999999999999999", "1" + "0" * 5_000], ids=["exponent", "digits"])
def test_metadata_that_cannot_be_read_costs_its_span_alone(engine: Engine, odd: str) -> None:
    """A number in it that none can hold is why that one span is rejected; the delivery is not."""
    metadata = '{"status_code": 200, "x": %s}'
    made = [
        readings.recorded(number, "requests", "3", metadata % said, aforo__customer__id="acme")
        for number, said in enumerate((odd, "1"), 1)
    ]
    [receipt] = engine.send(body(made))

    assert receipt.recorded == 1
    assert [refused.code for refused in receipt.rejections] == ["INVALID_METADATA"]


def test_what_was_recorded_is_not_booked_again_when_its_trace_is_looked_at(engine: Engine) -> None:
    """A span below, or an assigned trace, changes nothing of usage that was billed; nor does a filter of today."""
    said = '{"status_code": 200, "executionStatus": "SUCCESS"}'
    engine.send(body([readings.recorded(1, "requests", "3", said, aforo__customer__id="acme")]))
    stricter = parse({**CATALOG, "billable_units": [{"name": "requests", "filter": [
        {"field": "status_code", "operator": "LESS_THAN", "value": "100"}]}]})  # fmt: skip
    engine.intake.contracts.use(engine.tenant_no, stricter)
    engine.send(body([span(2, 1)]))
    engine.store.begin()
    engine.intake.review(engine.tenant_no, (1).to_bytes(16))
    engine.intake.finish(engine.now_ns)
    engine.store.commit(engine.policy)

    assert engine.query("SELECT kind, quantity FROM usage_events") == [(int(Kind.USAGE), "3")]


def test_a_trace_of_refused_spans_keeps_its_number(engine: Engine) -> None:
    """A trace whose every span was refused stays apart from the next one, also after a restart."""
    refused = readings.recorded(1, "no_such_metric", "1", aforo__customer__id="acme", trace=1)
    engine.send(body([refused]))
    engine.restart()
    engine.send(body([span(2, trace=2, **{"aforo.customer.id": "acme"})]))
    engine.send(body([span(3, trace=1, **{"aforo.customer.id": "acme"})]))

    assert engine.query("SELECT count(DISTINCT trace_no), count(*) FROM spans") == [(2, 2)]


def test_a_session_that_was_emptied_can_come_back(engine: Engine) -> None:
    """A span moves to its ancestor's session, which takes the old one away; a later span may open it anew."""
    usage = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5, "aforo.customer.id": "acme"}
    engine.send(body([span(2, 1, **usage)]))
    engine.send(body([span(1, **{"aforo.customer.id": "acme", "aforo.session.id": "s-1"})]))
    engine.send(body([span(3, **usage)]))

    reading = readings.reading(engine)
    trace_session = (1).to_bytes(16, "big").hex()
    sessions = reading.sessions(engine.tenant_no)["items"]
    assert {s["sessionId"]: s["totals"]["modelCalls"] for s in sessions} == {"s-1": 1, trace_session: 1}


def test_what_a_condition_kept_out_leaves_the_quarantine_once_it_is_billed(engine: Engine) -> None:
    """With the condition gone from the catalog, looked at again: it is on the bill, and set aside no more."""
    engine.send(body([readings.recorded(1, "requests", "3", "{}", aforo__customer__id="acme")]))
    assert engine.query("SELECT code FROM quarantine") == [("FILTERED",)]
    engine.intake.contracts.use(
        engine.tenant_no, parse({**CATALOG, "billable_units": [{"name": "requests"}]})
    )
    engine.store.begin()
    engine.intake.review(engine.tenant_no, (1).to_bytes(16))
    engine.intake.finish(engine.now_ns)
    engine.store.commit(engine.policy)

    assert engine.query("SELECT kind, quantity FROM usage_events") == [(int(Kind.USAGE), "3")]
    assert engine.query("SELECT code FROM quarantine") == []
