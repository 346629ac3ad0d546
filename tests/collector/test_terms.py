"""Subscriptions with a first and a last day: what is used outside of them is kept and visible, and not billed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aforo_collector.domain.catalog import Catalog, Term
from aforo_collector.domain.catalog_file import CatalogError, export, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector.access import As, key_said
from tests.collector.catalogs import catalog_for
from tests.collector.running import Start

from . import readings
from .engine import NOW_NS, Engine, body
from .readings import ACME, tool
from .test_rebooking import bring_catalog
from .test_submission_properties import NOW_S, read

FROM, TO = datetime(2026, 11, 16, 6, 30, tzinfo=UTC), datetime(2026, 12, 1, 0, 30, tzinfo=UTC)
DAYS = ("2026-11-16", "2026-11-17", "2026-11-18", "2026-11-19")


def dated(start: str | None, until: str | None, products: tuple[str, ...] = ("research", "bots")) -> Catalog:
    """The catalog of the readings, with acme's products for some days."""
    catalog = readings.catalog()
    acme, *others = catalog.customers
    acme = replace(acme, terms=tuple(Term(code, start, until) for code in products))
    return replace(catalog, customers=(acme, *others))


@st.composite
def usage(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events of acme over some days, on both sides of midnight, with and without sessions."""
    return [
        {
            "customerId": "acme",
            "metricName": draw(st.sampled_from(("pages", "scans", "agentic_api.tool_calls", "ai_agent.steps"))),
            "quantity": draw(st.integers(1, 3)),
            "toolName": draw(st.sampled_from(("lookup", "write"))),
            "occurredAt": draw(st.integers(NOW_S - 3 * 86_400, NOW_S))
            if draw(st.booleans())
            else NOW_S - NOW_S % 86_400 + draw(st.integers(-1, 0)),
            "idempotencyKey": f"key-{number}",
            **draw(st.sampled_from(({}, {"sessionId": "s-1"}))),
            **draw(st.sampled_from(({}, {"metadata": {"total_provider_cost": Decimal("0.25")}}))),
        }
        for number in range(draw(st.integers(1, 10)))
    ]  # fmt: skip


terms = st.tuples(st.sampled_from((None, *DAYS)), st.sampled_from((*DAYS[1:], "2026-11-20", None))).filter(
    lambda term: term != (None, None) and (None in term or str(term[0]) < str(term[1]))
)


def preview(made: Engine) -> dict[str, Any]:
    """Acme's invoice."""
    found = readings.reading(made).invoice_preview(made.tenant_no, "acme", start=FROM, end=TO)
    assert found is not None
    return found


def used(preview: dict[str, Any]) -> dict[str, int]:
    """How many events of each metric an invoice knows of, billed or not."""
    found: dict[str, int] = {}
    for line in preview["lines"] + preview["unrated"]:
        if line["eventCount"]:
            name = line["metricName"]
            found[name] = found.get(name, 0) + line["eventCount"]
    return found


@given(usage(), terms)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_only_what_happened_within_the_days_is_billed(events: list[dict[str, Any]], term: Any) -> None:
    """The lines are those of the usage inside of the subscription; all of it is on the invoice, rated or not."""
    begun, ended = Term("", *term).span_ns
    inside = [event for event in events if begun <= event["occurredAt"] * 10**9 < ended]
    with readings.engine() as made:
        made.submit(*inside)
        expected = preview(made)
    with readings.engine() as made:
        made.submit(*events)
        everything = used(preview(made))
    with readings.engine(dated(*term)) as made:
        made.submit(*events)
        got = preview(made)
        reading = readings.reading(made)
        for number, line in enumerate(got["lines"]):
            counted = reading.line_events(made.tenant_no, "acme", number, start=FROM, end=TO, limit=1000)
            assert counted is not None
            assert len(counted["items"]) == line["eventCount"]
    assert [line for line in got["lines"] if line["eventCount"]] == [
        line for line in expected["lines"] if line["eventCount"]
    ]
    assert used(got) == everything


@given(usage(), terms, terms)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_other_days_bill_as_if_they_had_always_been_these(
    events: list[dict[str, Any]], before: Any, after: Any
) -> None:
    """Usage that was recorded under other days, or without, is booked again under those that hold."""
    for earlier in (dated(*before), readings.catalog()):
        with readings.engine(dated(*after)) as made:
            made.bring(body([tool(1, start_s=-90_000, **ACME)]), made.submission(*events))
            expected = read(made)
        with readings.engine(earlier) as made:
            made.bring(body([tool(1, start_s=-90_000, **ACME)]), made.submission(*events))
            bring_catalog(made, dated(*after), 3)
            assert read(made) == expected


def test_spans_and_final_events_have_their_days() -> None:
    """A span counts by its end, a session by its last activity."""
    for until, revenue in (("2026-11-18", "0"), ("2026-11-19", "1.501")):
        with readings.engine(dated(None, until)) as made:
            made.send(body([tool(1, seconds=100, **ACME)]))
            made.now_ns = NOW_NS + 2 * readings.HOUR_NS
            made.store.begin()
            made.intake.finals.close_due(made.now_ns)
            made.store.commit(made.policy)
            shown = readings.reading(made).session(made.tenant_no, "s-1", customer_id="acme")
            assert shown is not None
            assert shown["totals"]["revenue"] == revenue


def test_a_fee_is_due_for_periods_in_which_the_subscription_runs() -> None:
    """A plan whose days do not touch the period has no line on the invoice."""
    for term, fee in (
        (("2026-11-20", None), True),
        (("2026-12-02", None), False),
        ((None, "2026-11-16"), False),
    ):
        with readings.engine(dated(*term)) as made:
            lines = [line["metricName"] for line in preview(made)["lines"]]
            assert lines == (["base_fee"] if fee else [])


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ([{"product": "bots", "from": "2026-1-1"}], "customers[0].terms[0].from"),
        ([{"product": "bots", "from": "2026-01-02", "until": "2026-01-02"}], "is not after"),
        ([{"product": "nothing", "from": "2026-01-02"}], "does not have 'nothing'"),
        ([{"product": "bots"}, {"product": "bots"}], "the same as"),
        ([{"from": "2026-01-02"}], "customers[0].terms[0].product"),
    ],
)
def test_days_that_make_no_sense_are_refused(terms: list[dict[str, str]], said: str) -> None:
    """Every problem is named with its place; what is right reads the same when it is written back."""
    document: Any = export(dated("2026-01-01", "2026-02-01"))
    assert parse(document) == dated("2026-01-01", "2026-02-01")
    document["customers"][0]["terms"] = terms
    with pytest.raises(CatalogError) as error:
        parse(document)
    assert said in str(error.value)


def test_subscriptions_say_their_days(start: Start) -> None:
    """Days are given with a subscription, changed, taken away, and shown; wrong ones change nothing."""
    collector = start()
    owner = As(collector, key_said(collector))
    document = catalog_for("acme")
    document["customers"][0]["products"] = []
    assert owner("PUT", "/v1/catalog", json=document).status_code == 200
    made = {"customerId": "acme", "productCode": "research", "from": "2026-01-01", "until": "2027-01-01"}
    assert owner("POST", "/v1/subscriptions", json=made).status_code == 201
    [row] = owner.data("/v1/subscriptions")
    assert made.items() <= row.items()
    path = f"/v1/subscriptions/{row['id']}"
    assert owner("PATCH", path, json={"until": "2025-01-01"}).status_code == 422
    assert owner("PATCH", path, json={"productCode": "other"}).status_code == 422
    changed = owner("PATCH", path, json={"until": None, "from": "2026-02-01"}).json()["data"]
    assert (changed["from"], "until" in changed) == ("2026-02-01", False)
    assert owner.data("/v1/catalog")["customers"][0]["terms"] == [
        {"product": "research", "from": "2026-02-01"}
    ]
    assert owner("DELETE", path).status_code == 200
    assert "terms" not in owner.data("/v1/catalog")["customers"][0]
