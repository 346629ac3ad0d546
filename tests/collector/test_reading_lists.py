"""Lists and single answers: what they contain, whom they belong to, and what is no sensible question."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aforo_collector.service.analytics import UsageQuery
from aforo_collector.service.queries import InvalidQuery
from aforo_collector.service.reading import Reading

from .engine import NOW_NS, NS, Engine, body, span
from .readings import ACME, catalog, chat, engine, every, reading, recorded, tool


def sessions_of(made: Engine, **wanted: Any) -> list[str]:
    """Ids of the sessions in a list."""
    found = every(reading(made).sessions, tenant_no=made.tenant_no, limit=2, **wanted)
    return [view["sessionId"] for view in found]


def test_sessions_are_listed_newest_first_by_customer_and_state() -> None:
    """Filters narrow the list, pages neither skip nor repeat, and states derive from times alone."""
    with engine() as made:
        for number in range(1, 8):
            customer = "globex" if number == 3 else "acme"
            made.send(
                body(
                    [
                        chat(
                            number,
                            trace=number,
                            aforo__customer__id=customer,
                            aforo__session__id=f"s-{number}",
                        )
                    ]
                )
            )
            made.now_ns += 30 * NS
        end = span(9, trace=5, aforo__operation__name="session_end", **{**ACME, "aforo__session__id": "s-5"})
        made.send(body([end]))

        assert sessions_of(made) == [f"s-{number}" for number in range(7, 0, -1)]
        assert sessions_of(made, customer_id="globex") == ["s-3"]
        assert sessions_of(made, customer_id="nobody") == []
        assert sessions_of(made, state="ACTIVE") == ["s-7"]
        assert sessions_of(made, state="CLOSED") == ["s-5"]
        assert sessions_of(made, state="IDLE") == ["s-6", "s-4", "s-3", "s-2", "s-1"]
        assert sessions_of(made, state="IDLE", customer_id="acme") == ["s-6", "s-4", "s-2", "s-1"]
        assert sessions_of(made, state="CREATED") == []
        assert reading(made).session_counts() == {"ACTIVE": 1, "IDLE": 5, "CLOSED": 1}


def test_a_session_id_of_several_customers_needs_its_customer() -> None:
    """Without the customer the question is refused and says how to ask it; with it each gets its own."""
    with engine() as made:
        for customer in ("acme", "globex"):
            made.send(body([chat(1, trace=ord(customer[0]), **{**ACME, "aforo__customer__id": customer})]))
        read, tenant = reading(made), made.tenant_no

        with pytest.raises(InvalidQuery, match=r"customerId: 2 customers .*acme, globex") as refused:
            read.session(tenant, "s-1")
        assert refused.value.field == "customerId"
        for customer in ("acme", "globex"):
            session = read.session(tenant, "s-1", customer_id=customer)
            tree = read.trace(tenant, "s-1", customer_id=customer)
            events = every(read.usage_events, tenant_no=tenant, session_id="s-1", customer_id=customer)
            assert session is not None
            assert tree is not None
            assert session["customerId"] == customer
            assert tree["spanCount"] == 1
            assert {event["customerId"] for event in events} == {customer}
        assert len(every(read.usage_events, tenant_no=tenant, session_id="s-1")) == 2 * len(events)


def test_another_tenant_sees_nothing() -> None:
    """Sessions, trees, events, invoices, books and quarantine of one tenant do not exist for the next."""
    with engine() as made:
        made.send(body([chat(1, **ACME), chat(2, trace=2)]))
        read = Reading(made.database, lambda _: catalog(), made.policy, lambda: made.now_ns)
        other = made.tenant_no + 1
        trace_id = (1).to_bytes(16, "big").hex()

        assert every(read.sessions, tenant_no=other) == []
        assert read.session(other, "s-1") is None
        assert read.trace(other, "s-1") is None
        for wanted in ({}, {"customer_id": "acme"}, {"session_id": "s-1"}, {"trace_id": trace_id}):
            assert every(read.usage_events, tenant_no=made.tenant_no, **wanted)
            assert every(read.usage_events, tenant_no=other, **wanted) == []
        invoice = read.invoice_preview(other, "acme")
        assert invoice is not None
        assert [line["eventCount"] for line in invoice["lines"]] == [0]
        assert (invoice["total"], invoice["unrated"]) == ("5.00", [])
        assert read.invoice_preview(other, "initech") is None
        assert read.intake_balance(other)["received"] == 0
        assert every(read.quarantine, tenant_no=other) == []


def test_the_books_and_the_quarantine_show_what_came_in() -> None:
    """Received is the sum of its outcomes, by door and in all; what was set aside says why, latest first."""
    with engine() as made:
        made.send(body([chat(1, **ACME), chat(2, trace=2), recorded(3, "unheard of", "1", trace=3, **ACME)]))
        made.send(body([chat(1, **ACME), chat(1, tokens=900, **ACME)]))
        read, tenant = reading(made), made.tenant_no

        balance = read.intake_balance(tenant)
        outcomes = {"received": 5, "recorded": 2, "duplicates": 1, "conflicts": 1, "rejected": 1}
        assert balance == {**outcomes, "doors": {"otlp": outcomes}}
        assert read.intake_totals() == {"otlp": outcomes}
        aside = every(read.quarantine, tenant_no=tenant, limit=1)
        assert [one["code"] for one in aside] == ["CONFLICT", "NO_CUSTOMER", "UNKNOWN_METRIC"]
        assert aside[1]["spanId"] == "0000000000000002"
        assert all(re.fullmatch(r"\d+", one["quarantineId"]) for one in aside)
        assert aside[0]["receivedAt"].startswith("2026-11-1")


def test_an_invoice_of_the_current_month_is_the_default() -> None:
    """Without a period the preview is of this month in UTC, with fees of plans that nothing was used of."""
    with engine() as made:
        made.send(body([tool(1, **ACME), tool(2, name="write", start_s=1, error=True, **ACME)]))
        invoice = reading(made).invoice_preview(made.tenant_no, "acme")

    assert invoice is not None
    assert (invoice["from"], invoice["to"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    shown = [(line["metricName"], line["dimension"], line["amountUnrounded"]) for line in invoice["lines"]]
    assert shown == [("agentic_api.tool_calls", "lookup", "0.001"), ("base_fee", None, "5")]
    assert invoice["total"] == "5.00"
    assert invoice["unpriced"] == {"calls": 0, "models": []}


def test_calls_of_unknown_cost_are_named_on_the_invoice() -> None:
    """A model without a price appears with its calls, in whole hours and in cut ones."""
    with engine() as made:
        made.send(body([chat(1, model="mystery", **ACME), chat(2, trace=2, **ACME)]))
        read, tenant = reading(made), made.tenant_no
        now = datetime.fromtimestamp(NOW_NS // NS, UTC)

        for period in ({}, {"start": now.replace(day=17, minute=7), "end": now}):
            invoice = read.invoice_preview(tenant, "acme", **period)
            assert invoice is not None
            assert invoice["unpriced"] == {"calls": 1, "models": ["mystery"]}


@pytest.mark.parametrize(
    ("method", "parameters", "field"),
    [
        ("sessions", {"state": "OPEN"}, "state"),
        ("sessions", {"limit": 0}, "limit"),
        ("sessions", {"cursor": "?"}, "cursor"),
        ("usage_events", {"limit": 1001}, "limit"),
        ("usage_events", {"cursor": "MTA"}, "cursor"),
        ("usage_events", {"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTl8MQ"}, "cursor"),
        ("usage_events", {"session_id": "s-1", "cursor": "MTA"}, "cursor"),
        ("usage_events", {"trace_id": "xyz"}, "traceId"),
        ("usage_events", {"trace_id": "z" * 32}, "traceId"),
        ("quarantine", {"cursor": "YQ"}, "cursor"),
        ("invoice_preview", {"customer_id": "acme", "start": datetime(2026, 1, 1)}, "from"),  # noqa: DTZ001
        ("invoice_preview", {"customer_id": "acme", "start": datetime(2100, 1, 1, tzinfo=UTC)}, "to"),
        ("invoice_preview", {"customer_id": "acme", "start": datetime(1960, 1, 1, tzinfo=UTC)}, "from"),
        ("line_events", {"customer_id": "acme", "line": 0, "cursor": "MTA"}, "cursor"),
    ],
)
def test_senseless_parameters_name_their_field(method: str, parameters: dict[str, Any], field: str) -> None:
    """What cannot be answered raises `InvalidQuery` with the name that the parameter has on the wire."""
    with engine() as made:
        made.send(body([chat(1, **ACME)]))
        with pytest.raises(InvalidQuery) as refused:
            getattr(reading(made), method)(made.tenant_no, **parameters)

    assert refused.value.field == field


def test_lines_that_do_not_exist_are_none() -> None:
    """A line number outside of the preview, and a customer that nobody knows, have no events."""
    with engine() as made:
        read, tenant = reading(made), made.tenant_no

        assert read.line_events(tenant, "acme", 1) is None
        assert read.line_events(tenant, "acme", -1) is None
        assert read.line_events(tenant, "initech", 0) is None
        fee = read.line_events(tenant, "acme", 0)
        assert fee == {"items": [], "nextCursor": None}


def test_reading_never_goes_through_all_events() -> None:
    """Events of a customer, session, trace or line and invoices are found by keys, never by a full scan."""
    with engine() as made:
        made.send(body([chat(number, trace=number, **ACME) for number in range(1, 40)]))
        statements: list[str] = []
        with made.database.reading() as connection:
            connection.set_trace_callback(statements.append)
        read, tenant = reading(made), made.tenant_no
        now = datetime.fromtimestamp(NOW_NS // NS, UTC)
        read.usage_events(tenant, customer_id="acme", metric_name="agentic_api.steps")
        read.usage_events(tenant, session_id="s-1", corrections=True)
        read.usage_events(tenant, trace_id=(1).to_bytes(16, "big").hex(), corrections=True)
        read.invoice_preview(tenant, "acme", end=now)
        read.line_events(tenant, "acme", 0, end=now)
        read.trace(tenant, "s-1")
        read.session(tenant, "s-1")
        read.sessions(tenant, customer_id="acme")
        read.session_counts()
        read.usage(
            tenant, UsageQuery(("customerId", "day"), {"customerId": "acme"}, now - timedelta(days=3), now)
        )
        selects = {statement for statement in statements if statement.startswith(("SELECT", "WITH"))}
        plans = [row[3] for select in selects for row in made.query(f"EXPLAIN QUERY PLAN {select}")]

    assert len(selects) > 10
    scans = {plan for plan in plans if plan.startswith("SCAN")} - {
        "SCAN sp", "SCAN j VIRTUAL TABLE INDEX 1:", "SCAN session_due",
        "SCAN sessions USING COVERING INDEX sessions_by_customer", "SCAN json_each VIRTUAL TABLE INDEX 1:",
        "SCAN payer",
        "SCAN trace_keys_fresh", "SCAN trace_keys_runs", "SCAN session_keys_fresh", "SCAN session_keys_runs",
        "SCAN scattered_keys_fresh", "SCAN scattered_keys_runs",
    }  # fmt: skip
    assert scans == set()
