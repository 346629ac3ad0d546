"""Events that are admitted together become what each would have become alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.catalog_file import parse
from aforo_collector.domain.cost import Unpriced
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.submission import Refusal
from aforo_collector.pipeline.attribution import counted_by_one, parts_of
from aforo_collector.pipeline.enrich import product_type_of_event
from aforo_collector.service.admission import Admission
from aforo_collector.service.series import Accepted, Series
from aforo_collector.store.interning import Bounded
from hypothesis import given
from hypothesis import strategies as st

NOW_NS = 1_795_000_000_000_000_000
BOUNDS_NS = NOW_NS - 10**15, NOW_NS + 10**9


def catalog() -> Catalog:
    """One where a condition, a price and a measurement go by fields of their own."""
    return parse({
        "currency": "USD",
        "billable_units": [
            {"name": "reads", "filter": [{"field": "status_code", "operator": "LESS_THAN", "value": "400"}]},
            {"name": "hosts", "aggregation": "COUNT_DISTINCT", "event_field": "host"},
        ],
        "rate_plans": [{"code": "pro", "prices": [
            {"metric": "reads", "model": "PER_UNIT", "unit_price": "0.1", "dimension": "region",
             "prices": {"eu": "0.2"}},
        ]}],
        "products": [{"code": "api", "type": "API", "rate_plan": "pro"}],
        "customers": [{"id": "c1", "products": ["api"]}],
    })  # fmt: skip


odd = st.sampled_from(
    [None, "", " ", "x", "X" * 300, "a\0b", 0, 1, True, 1.5, -1, Decimal("1.0"), 10**20, [], {}, {"a": 1}]
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "idempotencyKey": st.sampled_from(["k1", "k2", "k3"]),
    "quantity": st.sampled_from([0, 1, 2, True, Decimal("1.0"), Decimal("2.50"), Decimal("1e-7"), 10**14, -1]),
    "occurredAt": st.sampled_from(["2026-11-18T10:00:00Z", "2026-11-18T10:00:00.5+01:00", 1_794_900_000, "1999-01-01"]),
    "executionDurationMs": st.sampled_from([0, 5, 250, -3, 10**13, 2**60]),
    "metadata": st.dictionaries(
        st.sampled_from(["region", "host", "note", "sessionId", "model", "input_tokens", "executionStatus"]),
        st.sampled_from(["eu", "us", 1, True, Decimal("1.0"), None, {"deep": [1]}]), max_size=3,
    ),
    "metadata ": st.just({"region": "eu"}),
    "customerId": st.sampled_from(["c1", "c2"]),
    "customer_id": st.sampled_from(["c1", "c2"]),
    "metricName": st.sampled_from(["reads", "hosts", "api_calls", "tool_calls", "system.session.heartbeat", "nothing"]),
    "productType": st.sampled_from(["API", "GRPC_API", "AI_AGENT", "api"]),
    "sessionId": st.sampled_from(["s1", "s2"]),
    "sessionBoundary": st.sampled_from(["SESSION_END", "none"]),
    "agentId": st.sampled_from(["a1"]),
    "toolName": st.sampled_from(["find", "mend"]),
    "executionStatus": st.sampled_from(["SUCCESS", "error", "what"]),
    "statusCode": st.sampled_from([200, 500, Decimal("200.0"), True]),
    "status_code": st.sampled_from([200, 404]),
    "endpointPath": st.sampled_from(["/a", "/b"]),
    "region": st.sampled_from(["eu", "us"]),
    "host": st.sampled_from(["h1", "h2", 1, True, Decimal("1.0"), Decimal("1.00")]),
    "model": st.sampled_from(["m"]),
    "output_tokens": st.sampled_from([1, 7]),
    "extra": st.sampled_from(["e", 1, True, Decimal("1.0"), Decimal("1.00"), [1]]),
    "traceId": st.sampled_from(["t1", "t2"]),
    "trace": st.sampled_from([{"xTraceId": "x"}, "no"]),
}  # fmt: skip
USUAL = {"idempotencyKey": "k0", "customerId": "c1", "metricName": "reads", "quantity": 1}


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events that have the same fields and mostly the same values, as one sender's do."""
    names = draw(st.lists(st.sampled_from(sorted(fields)), unique=True, min_size=1, max_size=5))
    first = USUAL | {name: draw(fields[name]) for name in names}
    found = [first]
    for _ in range(draw(st.integers(2, 10))):
        event = dict(draw(st.sampled_from(found)))
        name = draw(st.sampled_from(names))
        event[name] = draw(odd if draw(st.integers(0, 5)) == 0 else fields[name])
        found.append(event)
    return found


def told(found: Accepted | Refusal) -> tuple[Any, ...]:
    """What an event is admitted as, without its series; a minted key as "minted"."""
    if isinstance(found, Refusal):
        return found
    key = "minted" if found.key.startswith("minted-") else found.key
    return found.event, key, found.metadata, found.details, found.digest


def types_in(value: Any) -> Any:
    """The same with the type of everything in it, for 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return {name: types_in(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [types_in(each) for each in value]
    return type(value).__name__, str(value)


@given(streams(), st.sampled_from([NOBODY, Identity(customer_id="c9", product_type="AI_AGENT")]), st.data())
def test_an_event_is_admitted_alike_whatever_came_before_it(
    events: list[dict[str, Any]], caller: Identity, data: st.DataObject
) -> None:
    """Event, texts, digest and refusal are those of an admission that has no memory, in submissions of any size."""
    terms = catalog()
    remembering = Admission(terms, caller, Bounded(1_000))
    start = 0
    while start < len(events):
        end = data.draw(st.integers(start + 1, len(events)))
        for place, found in enumerate(remembering.admit(events[start:end], BOUNDS_NS)):
            raw = events[start + place]
            [alone] = Admission(terms, caller, Bounded(1_000)).admit([raw], BOUNDS_NS)
            assert types_in(told(found)) == types_in(told(alone)), raw
            assert isinstance(found, Refusal) or found.place == place
        start = end


@given(streams())
def test_events_of_one_series_meet_the_same_conditions_and_prices(events: list[dict[str, Any]]) -> None:
    """What a condition, a measurement or a price looks at is the same in all of a series."""
    admission = Admission(catalog(), NOBODY, Bounded(1_000))
    seen: dict[object, object] = {}
    for found in admission.admit(events, BOUNDS_NS):
        if isinstance(found, Refusal) or found.series is None:
            continue
        event = found.event
        looked_at = [
            types_in(event.metadata.get(name, event.details.get(name)))
            for name in (
                "statusCode", "status_code", "region", "host", "model", "input_tokens", "output_tokens",
            )
        ]  # fmt: skip
        assert seen.setdefault(found.series, looked_at) == looked_at


def test_a_forgotten_series_is_found_anew() -> None:
    """A sender whose every event is a series of its own does not fill the memory, nor lose an event."""
    series: Bounded[object, Series] = Bounded(10)
    admission = Admission(catalog(), NOBODY, series)
    wanted = [f"s{place}" for place in [*range(25), *range(25)]]
    for each in ([[session] for session in wanted], [wanted]):
        found = [
            one for ids in each for one in admission.admit([USUAL | {"sessionId": i} for i in ids], BOUNDS_NS)
        ]
        assert [one.event.session_id for one in found if not isinstance(one, Refusal)] == wanted
        assert len(series) <= 10


@given(
    st.sampled_from(["ai_agent.steps", "agentic_api.tool_calls", "mcp_server.tool_invocations", "api_calls"]),
    st.sampled_from(["", "find"]),
    st.sampled_from(["", "SUCCESS", "ERROR"]),
    st.sampled_from([{}, {"model": "m"}, {"input_tokens": 3}, {"total_provider_cost": "0.1"}, {"note": "n"}]),
    st.integers(1, 10**9),
)
def test_an_event_that_counts_calls_is_so_many_of_what_one_is(
    metric: str, tool: str, status: str, metadata: dict[str, Any], count: int
) -> None:
    """What is found for one call holds for any number, and is found only where nothing else is told."""
    raw = {"customerId": "c1", "metricName": metric, "quantity": count, "metadata": metadata}
    raw |= {name: value for name, value in (("toolName", tool), ("executionStatus", status)) if value}
    terms = catalog()
    [found] = Admission(terms, NOBODY, Bounded(10)).admit([raw], BOUNDS_NS)
    assert not isinstance(found, Refusal)
    product_type = product_type_of_event(found.event, terms)
    unit = terms.unit(metric)
    parts = parts_of(found.event, unit, product_type, lambda *_: Unpriced("unknown_model"), NOW_NS)
    one = counted_by_one(found.event, unit, product_type)
    if one is not None:
        assert parts == [one._replace(occurrence=one.occurrence._replace(calls=count))]
    elif metadata in ({}, {"note": "n"}):
        assert parts[0].own == ""
