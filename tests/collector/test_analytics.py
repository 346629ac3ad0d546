"""Usage added up is what its events say one by one, however it is grouped, filtered, cut and paged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.measures import measures_of
from aforo_collector.domain.money import plain
from aforo_collector.domain.rating import estimate
from aforo_collector.domain.usage import UNITS, Entry, Kind
from aforo_collector.service import analytics
from aforo_collector.service.analytics import KEYS, UsageQuery
from aforo_collector.service.queries import InvalidQuery
from aforo_collector.store.sqlite_reads import Snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import readings
from .engine import NOW_NS, NS, RATES, Engine, body, cost_of
from .readings import engine, every, reading
from .test_reading_properties import workloads
from .test_submission_properties import brought, events, submissions

NOW = datetime.fromtimestamp(NOW_NS // NS, UTC)
DAY_S = 86_400
VALUES = {
    "metricName": (
        "pages",
        "agentic_api.tool_calls",
        "agentic_api.provider_cost",
        "agentic_api.sessions",
        "no",
    ),
    "customerId": ("acme", "globex", "no"),
    "agentId": ("", "a-1"),
    "productType": ("AGENTIC_API", "AI_AGENT"),
    "toolName": ("lookup", "write", ""),
    "model": ("m-1", "mystery", ""),
    "executionStatus": ("SUCCESS", ""),
}
properties = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def histories(draw: st.DrawFn, made: Engine) -> None:
    """Spans and events of some days, many around midnight, in any order; restarts, lost transactions, late prices."""
    hours = st.sampled_from((0, 11, 11, 12, 24, 35, 36, 59))
    spans = draw(workloads())
    for span in spans:
        moved_ns = draw(hours) * 3_600 * NS
        span["start"], span["end"] = span["start"] - moved_ns, span["end"] - moved_ns
    submitted = draw(events())
    for event in submitted:
        event["occurredAt"] -= draw(hours) * 3_600
    for transaction in draw(submissions(submitted, spans)):
        if draw(st.integers(0, 4)) == 0:
            made.fail(*brought(made, transaction, "http"))
        made.bring(*brought(made, transaction, "http"))
        if draw(st.integers(0, 4)) == 0:
            made.restart()
    if draw(st.booleans()):
        made.now_ns += 7_200 * NS
        made.store.begin()
        made.intake.finals.close_due(made.now_ns)
        made.store.commit(made.policy)
    if draw(st.booleans()):
        reprice(made)


def reprice(made: Engine) -> None:
    """Give the model that had no price one, and record its calls again."""
    made.intake.contracts.use(
        made.tenant_no, made.catalog, lambda _provider, _model, pools, _at: cost_of(pools, RATES)
    )
    made.store.begin()
    for event_no in made.store.unpriced(made.tenant_no):
        made.intake.reprice(made.tenant_no, event_no, made.now_ns)
    made.store.commit(made.policy)


@st.composite
def queries(draw: st.DrawFn) -> UsageQuery:
    """Any keys in any order, filters, and periods that cut days and hours, lie within one, or are open."""
    moments = st.integers(-4 * DAY_S, 8_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
    midnights = st.integers(-4, 1).map(lambda day: datetime(NOW.year, NOW.month, NOW.day + day, tzinfo=UTC))
    start, end = sorted(draw(st.tuples(moments | midnights, moments | midnights)))
    return UsageQuery(
        tuple(draw(st.lists(st.sampled_from(KEYS), max_size=4, unique=True))),
        {name: draw(st.sampled_from(VALUES[name])) for name in draw(st.sets(st.sampled_from([*VALUES]), max_size=2))},
        draw(st.sampled_from((None, start))),
        draw(st.sampled_from((None, end))) if start < end else None,
    )  # fmt: skip


def expected(made: Engine, query: UsageQuery) -> list[dict[str, Any]]:
    """The rows of a query from the net events, one by one."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    with made.database.reading() as connection:
        entries = list(Snapshot(connection, made.tenant_no).events.in_sequence(None, 0, None, net=True))
    for entry in entries:
        at = datetime.fromtimestamp(entry.occurred_ns // NS, UTC)
        if (query.start and at < query.start) or (query.end and at >= query.end):
            continue
        for metric, quantity, events_, cost, revenue, unpriced in told(made, entry):
            said = keys_of(made, entry, metric, at)
            if any(said[name] != value for name, value in query.only.items()):
                continue
            key = tuple(said[name] for name in query.group_by)
            row = rows.setdefault(key, {"metrics": set(), "sums": [Decimal(0), 0, Decimal(0), Decimal(0), 0]})
            row["metrics"] |= {metric} if events_ else set()
            row["sums"] = [
                a + b for a, b in zip(row["sums"], (quantity, events_, cost, revenue, unpriced), strict=True)
            ]
    return [
        {name: value or None for name, value in zip(query.group_by, key, strict=True)}
        | {
            "quantity": plain(row["sums"][0]) if len(row["metrics"]) == 1 else None,
            "eventCount": row["sums"][1],
            "providerCost": plain(row["sums"][2]),
            "revenue": plain(row["sums"][3]),
            "unpricedCalls": row["sums"][4],
        }
        | provisional(made, query, key)
        for key, row in rows.items()
        if any(row["sums"][1:])
    ]  # fmt: skip


def provisional(made: Engine, query: UsageQuery, key: tuple[Any, ...]) -> dict[str, bool]:
    """What a row says of its customer, if it has one."""
    if "customerId" not in query.group_by:
        return {}
    return {"provisional": made.catalog.customer(key[query.group_by.index("customerId")]) is None}


def told(made: Engine, entry: Entry) -> Iterator[tuple[str, Decimal, int, Decimal, Decimal, int]]:
    """(metric, quantity, events, cost, revenue, unpriced) of what an event says, metric by metric."""
    occurrence, payer = entry.occurrence, entry.payer
    plan = made.catalog.basis(payer.customer_id, payer.product_type)
    cost, unpriced = occurrence.cost or Decimal(0), int(bool(occurrence.reason))
    if occurrence.kind == Kind.USAGE:
        yield occurrence.metric, occurrence.quantity, 1, cost, occurrence.revenue or Decimal(0), unpriced
        return
    for metric, quantity, dimensions in measures_of(occurrence, entry.units, payer, plan):
        each = estimate(plan, metric, dimensions, Decimal(1)) or Decimal(0)
        yield metric, quantity, 1, Decimal(0), each * quantity, 0
    bears = entry.units >> UNITS.index("provider_cost") & 1
    prefix = payer.product_type.lower()
    yield f"{prefix}.provider_cost" if bears else "", Decimal(0), 0, cost, Decimal(0), unpriced


def keys_of(made: Engine, entry: Entry, metric: str, at: datetime) -> dict[str, str]:
    """The value of every key; an event of any metric has what its price can depend on."""
    occurrence, payer = entry.occurrence, entry.payer
    names: dict[str, str] = {}
    if occurrence.kind == Kind.USAGE:
        plan = made.catalog.basis(payer.customer_id, payer.product_type)
        names = measures_of(occurrence, 0, payer, plan)[0].dimensions
    elif occurrence.kind == Kind.TOOL:
        names = {
            "toolName": occurrence.label,
            "model": occurrence.metric,
            "executionStatus": occurrence.status,
        }
    elif occurrence.kind == Kind.MODEL:
        names = {"model": occurrence.label}
    return {
        "metricName": metric,
        "customerId": payer.customer_id,
        "teamId": payer.team_id,
        "agentId": payer.agent_id,
        "appId": payer.app_id,
        "productType": payer.product_type,
        **{name: names.get(name, "") for name in analytics.NAME_KEYS},
        "day": f"{at:%Y-%m-%d}",
        "hour": f"{at:%Y-%m-%dT%H}:00:00Z",
    }


def sorted_rows(rows: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """Rows as a set can be compared."""
    return sorted([(name, str(value)) for name, value in row.items()] for row in rows)


@given(st.data())
@properties
def test_rows_are_what_the_events_say(data: st.DataObject) -> None:
    """Every grouping, filter and period gives the sums over the net events, on pages of any length."""
    recorded = data.draw(st.sampled_from((None, ("*",), ("agentic_api.steps",))))
    with engine(None if recorded is None else Catalog(recorded_metrics=recorded)) as made:
        data.draw(histories(made))
        for _ in range(4):
            query = data.draw(queries())
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(analytics, "_PAYERS_FIRST", data.draw(st.sampled_from((1, 16))))
                limit = data.draw(st.sampled_from((1, 2, 1000)))
                found = every(reading(made).usage, tenant_no=made.tenant_no, query=query, limit=limit)
            assert sorted_rows(found) == sorted_rows(expected(made, query))


def test_rows_come_in_the_order_of_who_then_what() -> None:
    """Payers first, as they are grouped; then the other keys."""
    with engine() as made:
        for number, (customer, tool) in enumerate([("globex", "a"), ("acme", "b"), ("acme", "a")], 1):
            span = readings.tool(number, name=tool, trace=number, aforo__customer__id=customer)
            made.send(body([span]))
        query = UsageQuery(("toolName", "customerId"), {"metricName": "agentic_api.tool_calls"})
        rows = reading(made).usage(made.tenant_no, query)["items"]
        assert [(row["customerId"], row["toolName"]) for row in rows] == [
            ("acme", "a"), ("acme", "b"), ("globex", "a"),
        ]  # fmt: skip
        assert list(rows[0])[:2] == ["toolName", "customerId"]


def test_revenue_follows_the_metrics_that_earn_it() -> None:
    """A tool call that is priced and whose cost is marked up shows what each of both earns."""
    with engine() as made:
        span = readings.tool(1, aforo__customer__id="acme", aforo__provider_cost="0.5")
        made.send(body([span]))
        rows = reading(made).usage(made.tenant_no, UsageQuery(("metricName",)))["items"]
        shown = {row["metricName"]: (row["providerCost"], row["revenue"]) for row in rows}
        assert shown["agentic_api.tool_calls"] == ("0", "0.001")
        assert shown["agentic_api.provider_cost"] == ("0.5", "0.6")


def test_cost_that_no_metric_counts_stands_under_none() -> None:
    """Where nobody asked for `provider_cost`, a call's cost and that it is unknown are shown without a metric."""
    with engine(Catalog(recorded_metrics=("agentic_api.steps",))) as made:
        acme = {"aforo__customer__id": "acme"}
        paid = readings.tool(1, trace=1, aforo__provider_cost="0.5", **acme)
        made.send(body([paid, readings.chat(2, model="mystery", trace=2, **acme)]))
        rows = reading(made).usage(made.tenant_no, UsageQuery(("metricName",)))["items"]
        sums = [
            (row["metricName"], row["quantity"], row["providerCost"], row["unpricedCalls"]) for row in rows
        ]
        assert sums == [(None, None, "0.5", 1), ("agentic_api.steps", "2", "0", 0)]


def test_revenue_adds_up_when_prices_have_changed() -> None:
    """What was earned under earlier prices is shared in proportion, and not a digit of it is lost."""
    with engine() as made:
        span = readings.tool(1, aforo__customer__id="acme", aforo__provider_cost="0.7")
        made.send(body([span]))
        made.catalog = _dearer()
        rows = reading(made).usage(made.tenant_no, UsageQuery(("metricName",)))["items"]
        shares = [Decimal(row["revenue"]) for row in rows]
        assert sum(shares) == Decimal("0.841")
        assert len([share for share in shares if share > 0]) == 2


def _dearer() -> Catalog:
    from aforo_collector.domain.catalog_file import export, parse

    document = export(readings.catalog())
    for plan in document["rate_plans"]:
        for price in plan["prices"]:
            if price["metric"] == "agentic_api.tool_calls":
                price["prices"]["lookup"] = "0.07"
    return parse(document)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (UsageQuery(("planet",)), "groupBy"),
        (UsageQuery(("day",), start=NOW, end=NOW), "to"),
    ],
)
def test_what_makes_no_sense_is_refused(query: UsageQuery, field: str) -> None:
    """The parameter is named."""
    with engine() as made, pytest.raises(InvalidQuery) as refused:
        reading(made).usage(made.tenant_no, query)
    assert refused.value.field == field


@pytest.mark.parametrize("customer", [None, "acme"])
@pytest.mark.parametrize("period", [(1, None), (1, 2), (9999, None), (2262, 9999), (None, 9999), (1, 9999)])
def test_a_period_may_lie_anywhere(customer: str | None, period: tuple[int | None, int | None]) -> None:
    """What never happened in it is nothing, also where no clock counts that far."""
    start, end = (
        None if year is None else datetime(year, 12, 31, 23, 5, 7, 9, tzinfo=UTC) for year in period
    )
    with engine() as made:
        made.submit({"customerId": "acme", "metricName": "pages", "quantity": 1})
        only = {} if customer is None else {"customerId": customer}
        found = reading(made).usage(made.tenant_no, UsageQuery(("day",), only, start, end))["items"]
        held = (start is None or start.year == 1) and (end is None or end.year == 9999)
        assert [row["eventCount"] for row in found] == [1] * held


@pytest.mark.parametrize("cursor", ["", "x", "WzFd", "W10", "e30", "WyJhIiwiYiJd"])
def test_foreign_cursors_are_refused(cursor: str) -> None:
    """A cursor that no page of this grouping gave is told as such."""
    with engine() as made, pytest.raises(InvalidQuery, match="cursor"):
        reading(made).usage(made.tenant_no, UsageQuery(("day",)), cursor=cursor)


def test_another_tenant_is_not_added_in() -> None:
    """Usage of one tenant is nobody else's, in roll-ups and in cut hours, though customers are called alike."""
    with engine() as made:
        first = made.tenant_no
        made.send(body([readings.tool(1, aforo__customer__id="acme")]))
        made.store.begin()
        made.tenant_no = made.store.tenant("other")
        made.store.commit(made.policy)
        made.intake.contracts.use(made.tenant_no, made.catalog)
        made.send(body([readings.tool(n, name="theirs", aforo__customer__id="acme") for n in (2, 3)]))
        for tenant_no, tools in ((first, {"lookup": 1}), (made.tenant_no, {"theirs": 2})):
            for start in (None, NOW - timedelta(minutes=62)):
                query = UsageQuery(("toolName",), {"metricName": "agentic_api.tool_calls"}, start)
                rows = reading(made).usage(tenant_no, query)["items"]
                assert {row["toolName"]: row["eventCount"] for row in rows} == tools
