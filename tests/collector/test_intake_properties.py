"""The bill is a function of the set of spans: order, batching, repetition and restarts change nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from aforo_collector.domain.span import Span
from aforo_collector.domain.usage import Kind
from aforo_collector.doors.otlp import PROTOBUF, decode
from aforo_collector.store.event_rows import occurrence_of
from aforo_collector.store.roll_up_count import TABLES
from aforo_collector.store.roll_up_rows import SUMMED, sums_in
from aforo_collector.store.session_rows import decode as decode_session
from aforo_collector.views import session_view
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import readings
from .engine import NOW_NS, Engine, body, span
from .oracle import records

FROM, TO = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, 0, 30, tzinfo=UTC)

OPERATIONS = (
    "chat",
    "chat",
    "execute_tool",
    "execute_tool",
    "invoke_agent",
    "invoke_workflow",
    "embeddings",
    None,
)


@st.composite
def traces(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Spans of one or two traces: any parents (missing, later, cyclic), any identity, any dialect of tokens."""
    spans = []
    count = draw(st.integers(1, 12))
    for number in range(1, count + 1):
        trace = draw(st.sampled_from((1, 1, 1, 2)))
        parent = draw(st.sampled_from((0, *range(1, count + 2))))
        attributes: dict[str, Any] = {}
        operation = draw(st.sampled_from(OPERATIONS))
        if operation:
            attributes["gen_ai.operation.name"] = operation
        if operation == "execute_tool":
            attributes["gen_ai.tool.name"] = draw(st.sampled_from(("lookup", "write")))
            if draw(st.booleans()):
                attributes["aforo.provider_cost"] = draw(st.sampled_from(("0.5", "0.25")))
        if operation and (operation != "execute_tool" or draw(st.integers(0, 2)) == 0):
            attributes["gen_ai.request.model"] = draw(st.sampled_from(("m-1", "m-2", "mystery")))
            tokens = draw(st.sampled_from((None, 0, 7, 1000)))
            if tokens is not None:
                attributes["gen_ai.usage.input_tokens"] = tokens
                attributes["gen_ai.usage.output_tokens"] = tokens // 2
                attributes["gen_ai.usage.cache_read.input_tokens"] = draw(st.sampled_from((tokens // 4, 0)))
        if (
            operation == "invoke_agent"
            and "gen_ai.usage.input_tokens" not in attributes
            and draw(st.booleans())
        ):
            attributes["aforo.usage.quality"] = "missing"
        if draw(st.booleans()):
            attributes["aforo.customer.id"] = draw(st.sampled_from(("acme", "acme", "globex")))
        if draw(st.integers(0, 3)) == 0:
            attributes["aforo.session.id"] = draw(st.sampled_from(("s-1", "s-2")))
        if draw(st.integers(0, 3)) == 0:
            attributes["aforo.agent.id"] = draw(st.sampled_from(("a-1", "a-2")))
        start = draw(st.one_of(st.integers(0, 300), st.sampled_from((0.1, 0.2, 1.1, 2.9))))
        made = span(
            number, parent, trace, f"span {number}", start, draw(st.integers(0, 90)), draw(st.booleans()),
            draw(st.sampled_from(("test", "test", "aforo", "another"))),
        )  # fmt: skip
        made["attributes"] = attributes
        spans.append(made)
    return spans


@st.composite
def deliveries(draw: st.DrawFn, spans: list[dict[str, Any]]) -> list[list[list[dict[str, Any]]]]:
    """Any permutation with repetitions, cut into transactions of batches."""
    sent = draw(st.permutations(spans + draw(st.lists(st.sampled_from(spans), max_size=4))))
    transactions = []
    while sent:
        batches = []
        for _ in range(draw(st.integers(1, 3))):
            size = draw(st.integers(1, 5))
            batches.append(sent[:size])
            sent = sent[size:]
        transactions.append([batch for batch in batches if batch])
    return transactions


@contextmanager
def engine() -> Iterator[Engine]:
    """A fresh engine in a folder of its own, with prices."""
    with tempfile.TemporaryDirectory() as folder:
        made = Engine(Path(folder), readings.catalog())
        try:
            yield made
        finally:
            made.database.close()


def net_events(made: Engine) -> dict[tuple[bytes, int], tuple[str, Any]]:
    """(trace, span) -> (customer, session, occurrence) of everything that counts, prices included."""
    cursor = made.database.write.execute(
        "SELECT e.*, trace_id, customer_id, session_id FROM usage_events e JOIN strands USING (strand_no)"
        " JOIN payers USING (payer_no) JOIN customers USING (customer_no) JOIN sessions s USING (session_no)"
        " WHERE kind != ? AND event_no NOT IN (SELECT event_no FROM voided)",
        (int(Kind.VOID),),
    )
    names = [column[0] for column in cursor.description]
    found: dict[tuple[bytes, int], Any] = {}
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        key = (row["trace_id"], row["span_id"])
        assert key not in found, "a span counts once"
        found[key] = (row["customer_id"], row["session_id"], occurrence_of(row, made.store.interning.text))
    return found


def sessions(made: Engine) -> dict[tuple[str, str], Any]:
    """(customer, session id) -> what users see of it."""
    views = [
        session_view(decode_session(row[0]), NOW_NS, made.policy)
        for row in made.query("SELECT body FROM sessions")
    ]
    return {(view["customerId"], view["sessionId"]): view for view in views}


def roll_ups(made: Engine) -> list[tuple[Any, ...]]:
    """Roll-ups by meaning, without the numbers that arrival gave, and without rows that cancelled out."""
    found: list[tuple[Any, ...]] = []
    for table, period in TABLES.items():
        rows = made.query(
            f"SELECT customer_id, p.team_id, p.agent_id, '{table}', {period}, kind, units, m.name, l.name, s.name,"
            f" t.name, {', '.join(SUMMED)}, rest FROM {table} JOIN payers p USING (payer_no) JOIN customers USING"
            " (customer_no) LEFT JOIN names m ON m.name_no = metric_no LEFT JOIN names l ON l.name_no = label_no"
            " LEFT JOIN names s ON s.name_no = status_no LEFT JOIN names t ON t.name_no = step_no"
        )
        sums = ((*row[:11], *sums_in(row[11:])) for row in rows)
        found += [row for row in sums if any(row[11:])]
    return sorted(found, key=lambda row: [str(cell) for cell in row])


def what_users_read(made: Engine) -> bytes:
    """The JSON of every session, its trace and its events, and of every customer's invoice preview."""
    reading = readings.reading(made)
    read: dict[str, Any] = {}
    for customer, session_id in made.query(
        "SELECT customer_id, session_id FROM sessions JOIN customers USING (customer_no) ORDER BY 1, 2"
    ):
        read[f"{customer} {session_id}"] = [
            reading.session(made.tenant_no, session_id, customer_id=customer),
            reading.trace(made.tenant_no, session_id, customer_id=customer),
            reading.usage_events(made.tenant_no, session_id=session_id, customer_id=customer, limit=1000),
        ]
    for customer in ("acme", "globex"):
        invoice = reading.invoice_preview(made.tenant_no, customer, start=FROM, end=TO)
        assert invoice is not None
        assert sum(Decimal(line["amount"]) for line in invoice["lines"]) == Decimal(invoice["subtotal"])
        assert Decimal(invoice["subtotal"]) + Decimal(invoice["rounding"]) == Decimal(invoice["total"])
        read[customer] = invoice
    return json.dumps(read).encode()


def run(
    transactions: list[list[list[dict[str, Any]]]], restarts: bool = False, failures: bool = False
) -> tuple[Any, ...]:
    """Events, sessions, roll-ups and everything users read, after sending the transactions."""
    with engine() as made:
        for number, batches in enumerate(transactions):
            if failures:  # what fails is not always what is sent next
                made.fail(*(body(batch) for batch in transactions[-1 - number]))
            made.send(*(body(batch) for batch in batches))
            if restarts:
                made.restart()
        received, recorded, duplicates, conflicts, rejected = made.query(
            "SELECT received, recorded, duplicates, conflicts, rejected FROM intake"
        )[0]
        assert received == recorded + duplicates + conflicts + rejected
        assert received == sum(len(batch) for batches in transactions for batch in batches)
        return net_events(made), sessions(made), roll_ups(made), what_users_read(made)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_order_and_batching_gives_the_same_bill(data: st.DataObject) -> None:
    """Permuted, repeated and re-batched spans give the same bill, byte for byte, through restarts and rollbacks."""
    spans = data.draw(traces())
    expected = run([[spans]])

    sent = data.draw(deliveries(spans))
    got = run(sent, restarts=data.draw(st.booleans()), failures=data.draw(st.booleans()))

    assert got == expected


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_bill_is_what_the_rules_say_of_the_whole_set(data: st.DataObject) -> None:
    """The incremental tree agrees with a computation that sees all spans at once."""
    spans = data.draw(traces())
    read = [item for item in decode(body(spans), PROTOBUF, NOW_NS) if isinstance(item, Span)]
    expected = {
        key: (identity.customer_id, identity.session_id or key[0].hex(), occurrence)
        for key, (identity, occurrence) in records(read).items()
    }

    got = {
        key: (customer, session_id, occurrence._replace(revenue=None))
        for key, (customer, session_id, occurrence) in run(data.draw(deliveries(spans)))[0].items()
    }

    assert got == expected


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_session_totals_are_the_sum_of_their_events(data: st.DataObject) -> None:
    """Tokens, costs and calls of a session are the sums over its events, to the last digit."""
    events, found, *_ = run(data.draw(deliveries(data.draw(traces()))))

    for (customer, session_id), view in found.items():
        mine = [event[2] for event in events.values() if event[:2] == (customer, session_id)]
        totals = view["totals"]
        assert Decimal(totals["providerCost"]) == sum((o.cost for o in mine if o.cost), Decimal(0))
        assert totals["tokens"]["input"] == sum(o.input for o in mine)
        assert totals["tokens"]["output"] == sum(o.output for o in mine)
        assert totals["steps"] == sum(o.calls for o in mine)
        assert totals["toolCalls"] == sum(o.calls for o in mine if o.kind == Kind.TOOL)
        assert totals["unpricedCalls"] == sum(bool(o.reason) for o in mine)
