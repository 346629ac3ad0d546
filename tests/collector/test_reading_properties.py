"""What users read is a function of the set of spans, and every number of it can be traced to its events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aforo_collector.store import event_reads, event_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .engine import NOW_NS, Engine, body, span
from .readings import as_bytes, chat, engine, every, reading, recorded, tool
from .test_intake_properties import deliveries

NOW = datetime.fromtimestamp(NOW_NS // 10**9, UTC)
CUSTOMERS = ("acme", "globex", "nobody")
SESSIONS = ("s-1", "s-2")
properties = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def workloads(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Spans of several hours, products, sessions and customers, with parents that may come late or never."""
    spans = []
    count = draw(st.integers(1, 14))
    for number in range(1, count + 1):
        parent = draw(st.sampled_from((0, 0, *range(1, count + 2))))
        more: dict[str, Any] = {
            "start_s": draw(st.integers(-9_000, 3_000)),
            "seconds": draw(st.sampled_from((0, 1, 4))),
            "trace": draw(st.sampled_from((1, 2))),
        }
        if draw(st.integers(0, 2)):
            more["aforo__customer__id"] = draw(st.sampled_from(CUSTOMERS[:2]))
        if draw(st.booleans()):
            more["aforo__session__id"] = draw(st.sampled_from(SESSIONS))
        if draw(st.integers(0, 3)) == 0:
            more["aforo__product__type"] = draw(st.sampled_from(("AI_AGENT", "MCP_SERVER")))
            more["aforo__agent__id"] = draw(st.sampled_from(("a-1", "a-2")))
        kind = draw(st.sampled_from(("chat", "chat", "tool", "tool", "usage", "agent")))
        if kind == "chat":
            model = draw(st.sampled_from(("m-1", "m-2", "mystery")))
            made = chat(number, parent, model, draw(st.sampled_from((0, 7, 1000))), **more)
        elif kind == "tool":
            name = draw(st.sampled_from(("lookup", "write")))
            made = tool(number, parent, name, error=draw(st.booleans()), aforo__provider_cost="0.015", **more)
        elif kind == "usage":
            metric = draw(st.sampled_from(("pages", "scans")))
            metadata = draw(st.sampled_from(('{"size": "A4"}', '{"size": "A3", "n": 1}', "{}")))
            made = recorded(number, metric, draw(st.sampled_from(("0", "2.5", "3"))), metadata, **more)
        else:
            made = span(number, parent, name="agent", gen_ai__operation__name="invoke_agent", **more)
        spans.append(made)
    return spans


def send(made: Engine, transactions: list[list[list[dict[str, Any]]]], close: bool) -> None:
    """Deliver, and then close every named session of both customers."""
    for batches in transactions:
        made.send(*(body(batch) for batch in batches))
    if close:
        ends = [
            span(
                900 + number, trace=9, name="session_end", start_s=-9_000, seconds=0,
                aforo__operation__name="session_end", aforo__customer__id=customer, aforo__session__id=session,
            )
            for number, (customer, session) in enumerate((c, s) for c in CUSTOMERS[:2] for s in SESSIONS)
        ]  # fmt: skip
        made.send(body(ends))


def periods() -> st.SearchStrategy[dict[str, datetime]]:
    """Periods that begin and end anywhere, at whole hours, or are left to the default."""
    moments = st.integers(-14_000, 1_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
    hours = st.integers(-4, 1).map(lambda hour: NOW.replace(minute=0, second=0) + timedelta(hours=hour))
    pairs = st.tuples(moments | hours, moments | hours).filter(lambda pair: pair[0] < pair[1])
    return st.just({}) | pairs.map(lambda pair: {"start": pair[0], "end": pair[1]})


def everything(made: Engine, period: dict[str, datetime]) -> bytes:
    """The JSON of all that can be read of the sessions and customers, arrival left aside."""
    read, tenant = reading(made), made.tenant_no
    found: list[object] = []
    names = sorted((view["customerId"], view["sessionId"]) for view in every(read.sessions, tenant_no=tenant))
    for customer, session in names:
        found.append(read.session(tenant, session, customer_id=customer))
        found.append(read.trace(tenant, session, customer_id=customer))
        found.append(every(read.usage_events, tenant_no=tenant, session_id=session, customer_id=customer))
    traces = [trace.to_bytes(16, "big").hex() for trace in (1, 2)]
    found += [every(read.usage_events, tenant_no=tenant, trace_id=trace) for trace in traces]
    found += [read.invoice_preview(tenant, customer, **period) for customer in CUSTOMERS]
    return as_bytes(found)


@given(st.data())
@properties
def test_any_order_and_batching_reads_the_same(data: st.DataObject) -> None:
    """Sessions, trees, events and invoices are the same bytes for every permutation and batching."""
    spans = data.draw(workloads())
    close = data.draw(st.booleans())
    period = data.draw(periods())
    with engine() as made:
        send(made, [[spans]], close)
        expected = everything(made, period)
    with engine() as made:
        send(made, data.draw(deliveries(spans)), close)
        got = everything(made, period)

    assert got == expected


@given(st.data(), periods())
@properties
def test_every_line_lists_exactly_what_it_counts(data: st.DataObject, period: dict[str, datetime]) -> None:
    """The events of a line are as many as it says and sum to its quantity; together they are all that bills."""
    with engine() as made:
        send(made, data.draw(deliveries(data.draw(workloads()))), data.draw(st.booleans()))
        read, tenant = reading(made), made.tenant_no
        for customer in CUSTOMERS[:2]:
            invoice = read.invoice_preview(tenant, customer, **period)
            assert invoice is not None
            listed: list[str] = []
            for number, line in enumerate(invoice["lines"]):
                limit = data.draw(st.integers(1, 5))
                events = every(
                    read.line_events,
                    tenant_no=tenant,
                    customer_id=customer,
                    line=number,
                    limit=limit,
                    **period,
                )
                assert len(events) == line["eventCount"]
                if events:
                    quantities = [Decimal(event["quantity"]) for event in events]
                    total = len(events) if line["metricName"] == "scans" else sum(quantities)
                    assert total == Decimal(line["quantity"])
                listed += [event["eventId"] for event in events]
            expected = {
                event["eventId"]
                for event in every(read.usage_events, tenant_no=tenant, customer_id=customer)
                if within(event, invoice) and bills(event, customer)
            }
            assert Counter(listed) == Counter(expected)
            unrounded = sum(Decimal(line["amountUnrounded"]) for line in invoice["lines"])
            amounts = sum(Decimal(line["amount"]) for line in invoice["lines"])
            assert amounts + Decimal(invoice["rounding"]) == Decimal(invoice["total"])
            assert abs(unrounded - Decimal(invoice["total"])) <= Decimal("0.005")


def within(event: dict[str, Any], invoice: dict[str, Any]) -> bool:
    """Whether the event occurred in the invoice's period."""
    start, at, end = (
        datetime.fromisoformat(text) for text in (invoice["from"], event["occurredAt"], invoice["to"])
    )
    return start <= at < end


def bills(event: dict[str, Any], customer: str) -> bool:
    """Whether the test's catalog prices the event."""
    metric, product = event["metricName"], event["productType"]
    priced = {
        "AGENTIC_API": ("tool_calls", "provider_cost", "sessions", "session_seconds", "pages", "scans"),
        "AI_AGENT": ("output_tokens", "steps") if customer == "acme" else (),
    }.get(product, ())
    if metric.rpartition(".")[2] not in priced:
        return False
    return metric != "agentic_api.tool_calls" or event["executionStatus"] == "SUCCESS"


@given(st.data())
@properties
def test_unpriced_calls_are_counted_like_their_sessions_do(data: st.DataObject) -> None:
    """Two periods that meet anywhere count as many calls of unknown cost as the customer's sessions."""
    start, end = NOW - timedelta(days=1), NOW + timedelta(days=1)
    middle = NOW - timedelta(seconds=data.draw(st.integers(0, 13_000)))
    with engine() as made:
        send(made, data.draw(deliveries(data.draw(workloads()))), close=False)
        read, tenant = reading(made), made.tenant_no
        for customer in CUSTOMERS[:2]:
            invoices = [
                read.invoice_preview(tenant, customer, start=start, end=middle),
                read.invoice_preview(tenant, customer, start=middle, end=end),
            ]
            sessions = every(read.sessions, tenant_no=tenant, customer_id=customer)
            counted = sum(invoice["unpriced"]["calls"] for invoice in invoices if invoice is not None)
            assert counted == sum(view["totals"]["unpricedCalls"] for view in sessions)


@given(st.data(), st.integers(1, 7), st.integers(4, 30))
@properties
def test_pages_put_together_are_the_list(data: st.DataObject, limit: int, segment: int) -> None:
    """Whatever the page size and wherever postings are sealed, walking the pages gives every event once."""
    with engine() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_rows, "SEGMENT_EVENTS", segment)
        patch.setattr(event_reads, "SEGMENT_EVENTS", segment)
        patch.setattr(event_reads, "CHUNK_EVENTS", 3)
        send(made, data.draw(deliveries(data.draw(workloads()))), data.draw(st.booleans()))
        read, tenant = reading(made), made.tenant_no
        whole = every(read.usage_events, tenant_no=tenant, limit=1000)
        assert every(read.usage_events, tenant_no=tenant, limit=limit) == whole
        for field, name in (("customerId", "customer_id"), ("metricName", "metric_name")):
            for value in {event[field] for event in whole}:
                wanted = [event for event in whole if event[field] == value]
                assert every(read.usage_events, tenant_no=tenant, limit=limit, **{name: value}) == wanted
        for field, name in (("sessionId", "session_id"), ("traceId", "trace_id")):
            for value in {event[field] for event in whole if event[field]}:
                wanted = [event for event in whole if event[field] == value]
                wanted.sort(key=lambda event: (event["occurredAt"], event["eventId"]))
                assert every(read.usage_events, tenant_no=tenant, limit=limit, **{name: value}) == wanted


@given(st.data())
@properties
def test_corrections_add_up_to_the_net_view(data: st.DataObject) -> None:
    """Events with their voids, whichever list shows them, leave exactly the net events."""
    with engine() as made:
        send(made, data.draw(deliveries(data.draw(workloads()))), close=False)
        read, tenant = reading(made), made.tenant_no
        sessions = {view["sessionId"] for view in every(read.sessions, tenant_no=tenant)}
        lists: list[dict[str, Any]] = [{}, *({"session_id": session} for session in sessions)]
        lists += [{"trace_id": trace.to_bytes(16, "big").hex()} for trace in (1, 2)]
        for wanted in lists:
            net = every(read.usage_events, tenant_no=tenant, **wanted)
            books = every(read.usage_events, tenant_no=tenant, corrections=True, **wanted)
            left: Counter[tuple[str, str]] = Counter()
            for event in books:
                void = f"-void-{event['eventNo']}"
                left[event["eventId"].removesuffix(void), event["quantity"]] += (
                    -1 if event["type"] == "void" else 1
                )
            assert +left == Counter((event["eventId"], event["quantity"]) for event in net)
            assert not -left
