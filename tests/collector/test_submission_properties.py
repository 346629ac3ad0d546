"""Submitted events: doors, batches, orders, repetitions and restarts change nothing of what users read."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aforo_collector.domain.catalog_file import parse
from aforo_collector.domain.money import plain
from aforo_collector.domain.submission import Submission
from aforo_collector.service.analytics import UsageQuery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import readings
from .engine import NOW_NS, Engine, body
from .readings import recorded
from .test_intake_properties import roll_ups, traces

FROM, TO = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, 0, 30, tzinfo=UTC)
NOW_S = NOW_NS // 1_000_000_000
DOORS = ("http", "webhook", "upload")
Brought = dict[str, Any] | list[dict[str, Any]]


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events of any unit, with and without session, trace, tool, tokens and cost, under several spellings."""
    found = []
    for number in range(draw(st.integers(1, 10))):
        event: dict[str, Any] = {
            "customerId": draw(st.sampled_from(("acme", "acme", "globex", "stranger"))),
            "metricName": draw(st.sampled_from((
                "pages", "scans", "agentic_api.tool_calls", "ai_agent.steps", "agentic_api.input_tokens",
                "agentic_api.provider_cost", "mcp_server.tool_invocations",
            ))),
            "quantity": draw(st.sampled_from((0, 1, 1, 3, Decimal("2.5")))),
            "occurredAt": NOW_S - draw(st.integers(0, 9000)),
            "idempotencyKey": f"key-{number}",
        }  # fmt: skip
        metadata: dict[str, Any] = {}
        for name, values in (
            ("sessionId", (None, None, "s-1", "s-2")), ("toolName", (None, "lookup", "write")),
            ("agentId", (None, "a-1", "a-2")), ("productType", (None, "AI_AGENT", "AGENTIC_API")),
            ("executionStatus", (None, "SUCCESS", "ERROR")), ("traceId", (None, None, f"{1:032x}")),
            ("executionDurationMs", (None, 1500)),
        ):  # fmt: skip
            if (value := draw(st.sampled_from(values))) is not None:
                (event if draw(st.booleans()) or name in ("productType", "traceId") else metadata)[name] = (
                    value
                )
        if draw(st.booleans()):
            metadata |= {
                "model": draw(st.sampled_from(("m-1", "mystery"))),
                "input_tokens": 1000,
                "outputTokens": 7,
            }
        if draw(st.integers(0, 3)) == 0:
            metadata["total_provider_cost"] = draw(st.sampled_from((Decimal("0.25"), "0.5", 0)))
        if draw(st.booleans()):
            metadata["size"] = draw(st.sampled_from(("a4", "a5")))
        found.append(event | ({"metadata": metadata} if metadata else {}))
    return found


@st.composite
def submissions(
    draw: st.DrawFn, found: list[dict[str, Any]], spans: list[dict[str, Any]]
) -> list[list[Brought]]:
    """Any permutation with repetitions, cut into transactions of single events and batches of spans."""
    everything: list[Brought] = [*found, *([span] for span in spans)]
    again = draw(st.lists(st.sampled_from(everything), max_size=4))
    sent = draw(st.permutations(everything + again))
    transactions = []
    while sent:
        size = draw(st.integers(1, 6))
        transactions.append(sent[:size])
        sent = sent[size:]
    return transactions


def brought(made: Engine, transaction: list[Brought], door: str) -> list[bytes | Submission]:
    """A transaction as the doors hand it over: neighbouring events as one submission."""
    found: list[bytes | Submission] = []
    waiting: list[dict[str, Any]] = []
    for one in [*transaction, []]:
        if isinstance(one, dict):
            waiting.append(one)
            continue
        if waiting:
            found.append(made.submission(*waiting, door=door))
            waiting = []
        if one:
            found.append(body(one))
    return found


def read(made: Engine) -> str:
    """What users read: events, sessions and invoices of every customer, without which door it was."""
    reading = readings.reading(made)
    tenant = made.tenant_no
    told: list[Any] = []
    for customer in ("acme", "globex", "stranger"):
        listed = reading.usage_events(tenant, customer_id=customer, limit=1000)["items"]
        told.append(sorted(({**view, "door": ""} for view in listed), key=lambda view: str(view["eventId"])))
        told.append(reading.invoice_preview(tenant, customer, start=FROM, end=TO))
    for customer, session_id in made.query(
        "SELECT customer_id, session_id FROM sessions JOIN customers USING (customer_no) ORDER BY 1, 2"
    ):
        told.append(reading.session(tenant, session_id, customer_id=customer))
        listed = reading.usage_events(tenant, session_id=session_id, customer_id=customer, limit=1000)[
            "items"
        ]
        told.append([{**view, "door": ""} for view in listed])
        told.append(reading.trace(tenant, session_id, customer_id=customer))
    return json.dumps(
        [told, [[str(cell) for cell in row] for row in roll_ups(made)]], default=plain, indent=1
    )


def run(
    transactions: list[list[Brought]], doors: list[str], restarts: bool = False, failures: bool = False
) -> str:
    """What users read after everything was sent; the books balance on the way."""
    with readings.engine() as made:
        for number, transaction in enumerate(transactions):
            door = doors[number % len(doors)]
            if failures:  # what fails is not always what is sent next
                made.fail(*brought(made, transactions[-1 - number], door))
            made.bring(*brought(made, transaction, door))
            if restarts:
                made.restart()
        totals = made.query(
            "SELECT sum(received), sum(recorded + duplicates + conflicts + rejected) FROM intake"
        )
        assert totals[0] == (sum(map(len, transactions)),) * 2
        return read(made)


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_split_over_doors_and_batches_gives_the_same_rows(data: st.DataObject) -> None:
    """Events and spans of the same sessions, in any order, batching, repetition, through any door and restart."""
    found = data.draw(events())
    spans = data.draw(st.one_of(st.just([]), traces()))
    expected = run([[*found, *([span] for span in spans)]], ["http"])

    sent = data.draw(submissions(found, spans))
    doors = data.draw(st.lists(st.sampled_from(DOORS), min_size=1, max_size=3))
    got = run(sent, doors, restarts=data.draw(st.booleans()), failures=data.draw(st.booleans()))

    assert got.splitlines() == expected.splitlines()


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_submissions_that_wait_together_end_as_if_each_came_alone(data: st.DataObject) -> None:
    """Reports, rows and what is kept aside, also of duplicates, conflicts, heartbeats and what is refused."""
    found: list[dict[str, Any]] = []
    for event in data.draw(events()):
        found += data.draw(st.sampled_from((
            [event], [event, event], [event, {**event, "quantity": 77}], [{**event, "quantity": -1}],
            [{**event, "metadata": {"size": "a6"}}], [{**event, "metricName": "session_heartbeat", "sessionId": "s-1"}],
        )))  # fmt: skip
    cuts = sorted(data.draw(st.sets(st.integers(1, len(found)), max_size=5)) | {0, len(found)})
    parts = [found[start:end] for start, end in itertools.pairwise(cuts)]
    ended = {
        "customerId": "acme",
        "metricName": "pages",
        "quantity": 1,
        "sessionId": "s-1",
        "idempotencyKey": "0",
    }
    before = (
        ended,
        {**ended, "sessionId": "s-2", "idempotencyKey": "1"},
        {**ended, "sessionBoundary": "SESSION_END"},
    )

    def outcome(is_together: bool) -> tuple[Any, ...]:
        with readings.engine() as made:
            made.submit(*before)
            sent = [made.submission(*part) for part in parts]
            reports = made.together(*sent) if is_together else [made.bring(one)[0] for one in sent]
            aside = made.query(
                "SELECT code, position, detail, body FROM quarantine NATURAL LEFT JOIN set_aside"
            )
            return reports, sorted(aside), read(made), made.query("SELECT * FROM intake")

    assert outcome(is_together=True) == outcome(is_together=False)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_session_totals_are_the_sums_of_what_the_events_say(data: st.DataObject) -> None:
    """Tokens, cost and tool calls of a session are the sums over its events, to the last digit."""
    found = data.draw(events())
    with readings.engine() as made:
        made.submit(*found)
        reading = readings.reading(made)
        for customer, session_id in made.query(
            "SELECT customer_id, session_id FROM sessions JOIN customers USING (customer_no)"
        ):
            view = reading.session(made.tenant_no, session_id, customer_id=customer)
            assert view is not None
            rows = made.query(
                "SELECT coalesce(sum(input), 0), coalesce(sum(calls * (kind = 2)), 0), coalesce(sum(calls), 0)"
                " FROM usage_events JOIN submitted USING (event_no) JOIN sessions USING (session_no)"
                " JOIN customers USING (customer_no) WHERE customer_id = ? AND session_id = ?",
                customer, session_id,
            )  # fmt: skip
            totals = view["totals"]
            assert (totals["tokens"]["input"], totals["toolCalls"], totals["steps"]) == rows[0]
            costs = made.query(
                "SELECT cost FROM usage_events JOIN submitted USING (event_no) JOIN sessions USING (session_no)"
                " JOIN customers USING (customer_no) WHERE customer_id = ? AND session_id = ? AND cost IS NOT NULL",
                customer, session_id,
            )  # fmt: skip
            assert Decimal(totals["providerCost"]) == sum((Decimal(row[0]) for row in costs), Decimal(0))


PRICES = [
    {"metric": "pages", "model": "PER_UNIT", "unit_price": "1", "dimension": "tool_name", "prices": {"lookup": "7"}},
    {"metric": "api_calls", "model": "PER_UNIT", "unit_price": "3", "dimension": "toolName",
     "prices": {"lookup": "11"}, "outcome_weights": {"PARTIAL": "0.5"}},
    {"metric": "scans", "model": "PER_UNIT", "unit_price": "13", "dimension": "executionStatus",
     "prices": {"SUCCESS": "17"}},
]  # fmt: skip
BARE = {"tool_name": None, "execution_status": None}
SPELLED = {
    "toolName": ("toolName", "tool_name"),
    "executionStatus": ("executionStatus", "execution_status"),
}


@st.composite
def spelled(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events that say their tool and outcome anywhere, under either spelling, in any case."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        event: dict[str, Any] = {
            "customerId": "acme", "metricName": draw(st.sampled_from(("pages", "api_calls", "scans"))),
            "quantity": draw(st.integers(0, 3)), "occurredAt": NOW_S - number, "idempotencyKey": f"key-{number}",
            "metadata": {},
        }  # fmt: skip
        for name, values in (
            ("toolName", ("lookup", "write")),
            ("executionStatus", ("SUCCESS", "success", "partial", "Error")),
        ):
            where = event if draw(st.booleans()) else event["metadata"]
            if draw(st.booleans()):
                where[draw(st.sampled_from(SPELLED[name]))] = draw(st.sampled_from(values))
        found.append(event)
    return found


@given(spelled())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_events_are_estimated_to_earn_is_what_they_are_billed(found: list[dict[str, Any]]) -> None:
    """A tool and an outcome price an event wherever and however they are spelled; the estimate is the invoice's sum."""
    with readings.engine(parse({
        "billable_units": [{"name": "pages"}, {"name": "scans"}],
        "rate_plans": [{"code": "pro", "prices": PRICES}],
        "products": [{"code": "research", "type": "AGENTIC_API", "rate_plan": "pro"}],
        "customers": [{"id": "acme", "products": ["research"]}],
    })) as made:  # fmt: skip
        made.submit(*found)
        noted = [{**event, "toolName": None, "executionStatus": None} | BARE for event in found]
        made.send(*(
            body([recorded(number + 1, event["metricName"], str(event["quantity"]), json.dumps(event["metadata"]),
                           aforo__customer__id="acme")])
            for number, event in enumerate(noted)
        ))  # fmt: skip
        bill = readings.reading(made).invoice_preview(made.tenant_no, "acme", start=FROM, end=TO)
        earned = readings.reading(made).usage(made.tenant_no, UsageQuery(group_by=()))["items"]
    expected = sum(map(worth, [*found, *noted]))
    assert bill is not None
    assert Decimal(bill["subtotal"]) == sum(Decimal(row["revenue"]) for row in earned) == expected


def worth(event: dict[str, Any]) -> Decimal:
    """What one of the events costs by `PRICES`."""
    tool, status = (
        next((where[name] for where in (event, event["metadata"]) for name in names if where.get(name)), "")
        for names in SPELLED.values()
    )
    status = status.upper()
    is_lookup = tool == "lookup"
    each = {
        "pages": Decimal(7 if is_lookup else 1),
        "api_calls": (11 if is_lookup else 3)
        * {"": Decimal(1), "SUCCESS": 1, "PARTIAL": Decimal("0.5")}.get(status, 0),
        "scans": Decimal(17 if status == "SUCCESS" else 13),
    }
    return Decimal(each[event["metricName"]] * event["quantity"])
