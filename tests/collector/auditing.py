"""What the audit does its sums with: catalogs, events and spans of any kind, and what the listed events come to."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from aforo_collector.service.analytics import UsageQuery
from hypothesis import strategies as st

from .engine import NOW_NS, Engine
from .readings import chat, every, reading, recorded, tool

NOW = datetime.fromtimestamp(NOW_NS // 10**9, UTC)
TERM = datetime(2026, 11, 18, tzinfo=UTC)
PERIODS = (
    (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, 0, 30, tzinfo=UTC)),
    (NOW - timedelta(seconds=3600), NOW),
    (NOW - timedelta(days=2), NOW - timedelta(seconds=1)),
)
NOW_S = NOW_NS // 10**9
CUSTOMERS = ("acme", "globex", "stranger")
SESSIONS = ("s-1", "s-2")
UNITS = {
    "pages": ("SUM", None), "scans": ("COUNT", None), "latency": ("AVG", "ms"), "peak": ("MAX", "ms"),
    "slow": ("PERCENTILE_90", "ms"), "people": ("COUNT_DISTINCT", "user"), "bytes": ("SUM", "ms"),
}  # fmt: skip
TOOLS, TOKENS, COST, STEPS = (
    f"agentic_api.{unit}" for unit in ("tool_calls", "input_tokens", "provider_cost", "steps")
)
NOT_NO = {"field": "ok", "operator": "NOT_EQUALS", "value": "no"}
FIELDS = ("region", "toolName", None)


def unit_of(name: str) -> dict[str, Any]:
    """A billable unit without conditions, as the catalog's file says it."""
    aggregation, event_field = UNITS[name]
    return {"name": name, "aggregation": aggregation, **({"event_field": event_field} if event_field else {})}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A catalog: any of the units, prices, products and customers may be there or not, prices go by any field."""
    some = st.sampled_from((True, True, True, False))
    units = [name for name in UNITS if name in ("pages", "scans") or draw(some)]
    is_strict = draw(st.booleans())

    def price(metric: str) -> dict[str, Any]:
        fields = FIELDS if metric in UNITS else ("toolName", None) if metric == TOOLS else (None,)
        dimension = draw(st.sampled_from(fields))
        by_value = {"dimension": dimension, "prices": {"eu": "7", "lookup": "11"}} if dimension else {}
        weights = (
            {"outcome_weights": {"PARTIAL": "1"}} if metric in (*UNITS, TOOLS) and draw(st.booleans()) else {}
        )
        return {"metric": metric, "model": "PER_UNIT", "unit_price": "3", **by_value, **weights}

    def plan(code: str) -> dict[str, Any]:
        priced = [metric for metric in (*units, TOOLS, TOKENS, COST, STEPS) if draw(some)]
        return {"code": code, "prices": [price(metric) for metric in priced]}

    return {
        "recorded_metrics": ["*"],
        "billable_units": [
            unit_of(name) | ({"filter": [NOT_NO]} if is_strict else {})
            for name in units
        ],
        "rate_plans": [plan("pro"), plan("basic")],
        "products": [
            {"code": "research", "type": "AGENTIC_API", "rate_plan": draw(st.sampled_from(("pro", "basic")))},
            {"code": "calls", "type": "API", "rate_plan": "basic"},
        ],
        "customers": [
            {
                "id": name,
                "products": bought,
                "teams": [{"id": "science", "agents": ["a-1"]}],
                "terms": [{"product": bought[0], "from": TERM.date().isoformat()}] if draw(st.booleans()) else [],
            }
            for name in CUSTOMERS if draw(some)
            for bought in [draw(st.sampled_from((["research"], ["research", "calls"], ["calls"])))]
        ],
    }  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event of any unit, with or without session, trace, tool, outcome, value, tokens and cost."""
    metric = draw(st.sampled_from((*UNITS, TOOLS, TOKENS, COST, STEPS)))
    event: dict[str, Any] = {
        "customerId": draw(st.sampled_from(CUSTOMERS)), "metricName": metric,
        "quantity": draw(st.sampled_from((0, 1, 3, Decimal("2.5")))),
        "occurredAt": NOW_S - draw(st.sampled_from((0, 1, 1800, 3601, 90_000))),
    }  # fmt: skip
    for name, values in (
        ("sessionId", (None, *SESSIONS)), ("toolName", (None, "lookup", "write")), ("agentId", (None, "a-1")),
        ("executionStatus", (None, "SUCCESS", "ERROR", "PARTIAL")), ("traceId", (None, None, None, f"{1:032x}")),
        ("productType", (None, None, "API", "AI_AGENT")), ("teamId", (None, "t-1")),
        ("executionDurationMs", (None, 1500)),
    ):  # fmt: skip
        if (value := draw(st.sampled_from(values))) is not None:
            event[name] = value
    metadata = draw(st.fixed_dictionaries({}, optional={
        "region": st.sampled_from(("eu", "us")), "ms": st.sampled_from((0, 7, 7, 100, Decimal("2.50"), "12", "no")),
        "user": st.sampled_from(("ann", "bob")), "ok": st.sampled_from(("yes", "no")),
    }))  # fmt: skip
    if draw(st.integers(0, 2)) == 0:
        metadata |= {
            "model": draw(st.sampled_from(("m-1", "mystery"))),
            "input_tokens": 1000,
            "outputTokens": 7,
        }
    if draw(st.integers(0, 4)) == 0:
        metadata["total_provider_cost"] = draw(st.sampled_from((Decimal("0.25"), "0.5", 0)))
    return event | ({"metadata": metadata} if metadata else {})


@st.composite
def spans(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """A span of a model, a tool or of usage recorded by hand, of somebody or nobody."""
    more: dict[str, Any] = {"start_s": draw(st.integers(-100, 3000)), "trace": draw(st.integers(1, 3))}
    if draw(st.integers(0, 3)):
        more["aforo__customer__id"] = draw(st.sampled_from(CUSTOMERS))
    if draw(st.booleans()):
        more["aforo__session__id"] = draw(st.sampled_from(SESSIONS))
    parent = draw(st.sampled_from((0, max(1, number - 1), number + 1)))
    kind = draw(st.sampled_from(("chat", "tool", "usage")))
    if kind == "chat":
        return chat(number, parent, draw(st.sampled_from(("m-1", "mystery"))), **more)
    if kind == "tool":
        return tool(
            number, parent, draw(st.sampled_from(("lookup", "write"))), error=draw(st.booleans()), **more
        )
    metadata = draw(st.sampled_from(('{"region": "eu", "ms": 9}', '{"ok": "no", "user": "ann"}', "{}")))
    return recorded(
        number, draw(st.sampled_from(sorted(UNITS))), draw(st.sampled_from(("0", "4"))), metadata, **more
    )


@dataclass
class Sum:
    """What some listed events come to."""

    quantity: Decimal = Decimal(0)
    values: list[Any] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def invoiced(
    made: Engine, customer: str, listed: list[dict[str, Any]], start: datetime, end: datetime
) -> None:
    """Each line is what its events come to, and lists them."""
    read = reading(made)
    invoice = read.invoice_preview(made.tenant_no, customer, start=start, end=end)
    if invoice is None:
        assert not listed
        return
    sums: defaultdict[tuple[str, str, str | None], Sum] = defaultdict(Sum)
    count = 0
    for view in listed:
        at = datetime.fromisoformat(view["occurredAt"])
        if not start <= at < end:
            continue
        plan = made.catalog.basis(customer, view["productType"])
        if made.catalog.term_ns(customer, view["productType"]) and at < TERM:
            plan = None
        price = plan.price_of(view["metricName"]) if plan is not None else None
        if plan is None or price is None:
            count += 1
            continue
        terms, status = price.terms, view.get("executionStatus")
        if view["metricName"] in (TOOLS, *UNITS) and status and not terms.weight({"executionStatus": status}):
            continue
        name = terms.dimension or ""
        found = sums[plan.code, view["metricName"], view["metadata"].get(name) or view.get(name)]
        found.ids.append(view["eventId"])
        found.quantity += Decimal(view["quantity"])
        found.values.append((Decimal(view["quantity"]), view["metadata"]))
    got = {(line["ratePlan"], line["metricName"], line["dimension"]): line for line in invoice["lines"]}
    assert got.keys() == sums.keys(), (got.keys(), sums.keys())
    for number, line in enumerate(invoice["lines"]):
        found = sums[line["ratePlan"], line["metricName"], line["dimension"]]
        assert Decimal(line["quantity"]) == come_to(line["metricName"], found), line
        assert line["eventCount"] == len(found.ids)
        each = {"eu": 7, "lookup": 11}.get(line["dimension"], 3)
        assert Decimal(line["amountUnrounded"]) == Decimal(line["quantity"]) * each
        behind = every(
            read.line_events, tenant_no=made.tenant_no, customer_id=customer, line=number, start=start, end=end,
            limit=3,
        )  # fmt: skip
        assert Counter(view["eventId"] for view in behind) == Counter(found.ids)
    assert sum(entry["eventCount"] for entry in invoice["unrated"]) == count
    assert sum(Decimal(line["amount"]) for line in invoice["lines"]) == Decimal(invoice["subtotal"])
    assert Decimal(invoice["subtotal"]) + Decimal(invoice["rounding"]) == Decimal(invoice["total"])


def analysed(made: Engine, listed: list[dict[str, Any]]) -> None:
    """Usage added up is the sum of the events; cost and revenue are those of the bookings that count."""
    read = reading(made)
    sums: defaultdict[tuple[str, str, str], list[Decimal]] = defaultdict(list)
    for view in listed:
        sums[view["customerId"], view["metricName"], view["occurredAt"][:10]].append(
            Decimal(view["quantity"])
        )
    query = UsageQuery(group_by=("customerId", "metricName", "day"))
    rows = every(read.usage, tenant_no=made.tenant_no, query=query, limit=5)
    got = {
        (row["customerId"], row["metricName"], row["day"]): (row["eventCount"], Decimal(row["quantity"]))
        for row in rows if row["eventCount"]
    }  # fmt: skip
    assert got == {key: (len(found), sum(found)) for key, found in sums.items()}
    total = (read.usage(made.tenant_no, UsageQuery(group_by=()))["items"] or [{}])[0]
    found = bookings(made, "1 = 1")
    assert Decimal(total.get("providerCost", 0)) == added(row["cost"] for row in found)
    assert Decimal(total.get("revenue", 0)) == added(row["revenue"] for row in found)


def sessions_add_up(made: Engine) -> None:
    """The totals of a session, with its adjustments, are the sums of its bookings."""
    for number, customer, session_id in made.query(
        "SELECT session_no, customer_id, session_id FROM sessions JOIN customers USING (customer_no)"
    ):
        view = reading(made).session(made.tenant_no, session_id, customer_id=customer)
        assert view is not None
        parts = [view["totals"], view.get("adjustments")]
        found = bookings(made, "session_no = ?", number)
        calls = [row for row in found if row["kind"] in (1, 2)]
        for name, expected in (
            ("providerCost", added(row["cost"] for row in found)),
            ("revenue", added(row["revenue"] for row in found)),
            ("steps", sum(row["calls"] for row in calls)),
            ("toolCalls", sum(row["calls"] for row in calls if row["kind"] == 2)),
        ):
            assert sum(Decimal(part[name]) for part in parts if part) == expected, (name, view)


def bookings(made: Engine, where: str, *values: Any) -> list[dict[str, Any]]:
    """The bookings that count."""
    names = ("kind", "calls", "cost", "revenue")
    rows = made.query(
        "SELECT kind, calls, cost, revenue FROM usage_events e JOIN strands USING (strand_no)"
        f" LEFT JOIN voided v ON v.event_no = e.event_no WHERE kind <> 5 AND v.event_no IS NULL AND {where}",
        *values,
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def lines(made: Engine, customer: str) -> Any:
    """What a customer is billed for, line by line."""
    start, end = PERIODS[0]
    invoice = reading(made).invoice_preview(made.tenant_no, customer, start=start, end=end)
    return invoice["lines"] if invoice is not None else []


def added(amounts: Iterable[str | None]) -> Decimal:
    """The sum of amounts, some of them none."""
    return sum((Decimal(amount) for amount in amounts if amount is not None), Decimal(0))


def come_to(metric: str, found: Sum) -> Decimal:
    """What the events of a line come to, by the aggregation of their unit."""
    how, name = UNITS.get(metric, ("SUM", None))
    if how == "COUNT":
        return Decimal(len(found.ids))
    if name is None:
        return found.quantity
    if how == "COUNT_DISTINCT":
        return Decimal(len({metadata["user"] for _, metadata in found.values if "user" in metadata}))
    numbers = sorted(
        Decimal(quantity if metadata.get(name, "no") == "no" else metadata[name])
        for quantity, metadata in found.values
    )
    if how == "AVG":
        return Decimal(sum(numbers) / len(numbers)).quantize(Decimal(1).scaleb(-12))
    if how == "PERCENTILE_90":
        return numbers[math.ceil(len(numbers) * 9 / 10) - 1]
    return max(numbers) if how == "MAX" else sum(numbers, Decimal(0))
