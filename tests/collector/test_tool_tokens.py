"""Tokens that a tool tells of: billed as a model call's are, each of them once."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import islice, permutations
from typing import Any

import pytest
from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.cost import Unpriced, cost_of
from aforo_collector.domain.money import plain
from aforo_collector.service.analytics import UsageQuery
from aforo_collector.service.checking import check

from . import readings
from .engine import RATES, Engine, body
from .readings import ACME, chat, span, tool
from .test_rebooking import bring_catalog

TOKENS = {"gen_ai__usage__input_tokens": 100, "gen_ai__usage__output_tokens": 50}
COST = "0.000045"  # 100 and 50 tokens at the engine's rates
EVERYTHING = Catalog(recorded_metrics=("*",))


def telling(span_id: int, parent_id: int = 0, name: str = "ask", model: str = "m-1", **more: Any) -> Any:
    """A tool call that tells of tokens."""
    return tool(span_id, parent_id, name, gen_ai__request__model=model, **TOKENS, **ACME, **more)


def session(made: Engine) -> dict[str, Any]:
    """The totals of acme's session s-1."""
    shown = readings.reading(made).session(made.tenant_no, "s-1", customer_id="acme")
    assert shown is not None
    totals: dict[str, Any] = shown["totals"]
    return totals


def billed(made: Engine) -> Counter[str]:
    """What acme is billed for: (metric, tool, model) → quantity."""
    items = readings.reading(made).usage_events(made.tenant_no, customer_id="acme", limit=1000)["items"]
    found: Counter[str] = Counter()
    for item in items:
        name = f"{item['metricName'].removeprefix('agentic_api.')} {item.get('toolName')} {item.get('model')}"
        found[name] += Decimal(item["quantity"])  # type: ignore[assignment]
    return found


def test_a_tools_tokens_are_billed_as_a_models() -> None:
    """They are token events of its model, cost what the price book says, count in the session, and no check minds."""
    with readings.engine(EVERYTHING) as made:
        made.send(body([telling(1)]))
        assert billed(made) == {
            "tool_calls ask None": 1,
            "steps ask None": 1,
            "input_tokens ask m-1": 100,
            "output_tokens ask m-1": 50,
            "provider_cost ask m-1": Decimal(COST),
        }
        totals = session(made)
        assert (totals["tokens"]["total"], totals["modelCalls"], totals["toolCalls"], totals["providerCost"]) == (
            150, 1, 1, COST,
        )  # fmt: skip
        assert check(made.database) == []
    with readings.engine() as made:
        event = {"customerId": "acme", "metricName": "agentic_api.tool_calls", "quantity": 1, "toolName": "ask",
                 "sessionId": "s-1", "model": "m-1", "input_tokens": 100, "output_tokens": 50}  # fmt: skip
        made.submit(event)
        for unlike in ("activeDurationMs", "wallDurationMs", "revenue"):
            del totals[unlike]
        assert totals.items() <= session(made).items(), "an event says the same as the span"


def test_a_stated_cost_is_the_cost() -> None:
    """A tool that says what its call cost needs no price book, and is not priced beside it."""
    with readings.engine(EVERYTHING) as made:
        made.send(body([telling(1, model="mystery", aforo__provider_cost="0.5")]))
        assert (session(made)["providerCost"], session(made)["unpricedCalls"]) == ("0.5", 0)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "inside",
    [
        chat(2, 1, tokens=100, **ACME),
        span(2, 1, name="invoke_agent", gen_ai__operation__name="invoke_agent", **TOKENS, **ACME),
    ],
)
def test_tokens_that_a_span_inside_tells_are_billed_there(inside: dict[str, Any], restarted: bool) -> None:
    """In whatever order they come, and however deep it lies, the span inside is the one that is billed."""
    for order in permutations([telling(1, 4), inside, span(4, name="chain", **ACME)]):
        with readings.engine(EVERYTHING) as made:
            for one in order:
                made.send(body([one]))
                if restarted:
                    made.restart()
            found = billed(made)
            assert sum(count for name, count in found.items() if name.startswith("output_tokens")) == 50
            assert not [name for name in found if "tokens ask" in name or "cost ask" in name]
            assert found["tool_calls ask None"] == 1
            assert (session(made)["tokens"]["total"], session(made)["providerCost"] > "0") == (150, True)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_server_tells_what_the_client_does_not_know(restarted: bool) -> None:
    """Of a call that client and server see, the tokens count once, whoever tells of them."""
    client, server = tool(1, name="ask", **ACME), telling(2, 1)
    for spans in ([client, server], [server, client], [telling(1), server]):
        with readings.engine(EVERYTHING) as made:
            for one in spans:
                made.send(body([one]))
                if restarted:
                    made.restart()
            assert billed(made)["output_tokens ask m-1"] == 50
            assert billed(made)["tool_calls ask None"] == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_siblings_of_one_call_tell_its_tokens_once(restarted: bool) -> None:
    """Two spans of one call id that do not stand above each other bill the tokens once, or what one encloses."""
    twins = [tool(1, name="ask", gen_ai__tool__call__id="c", **ACME), telling(2, gen_ai__tool__call__id="c")]
    for within in ([], [chat(3, 1, tokens=100, **ACME)], [chat(3, 2, tokens=100, **ACME)]):
        for order in permutations([*twins, *within]):
            with readings.engine(EVERYTHING) as made:
                for one in order:
                    made.send(body([one]))
                    if restarted:
                        made.restart()
                assert session(made)["tokens"]["total"] == 150
                assert session(made)["toolCalls"] == 1


def test_a_price_that_comes_later_holds_for_tools() -> None:
    """Tokens of an unknown model are unpriced and visible until there is a price; what a twin told stays told."""
    twins = [
        tool(1, name="ask", gen_ai__tool__call__id="c", **ACME),
        telling(2, model="mystery", gen_ai__tool__call__id="c"),
    ]
    with readings.engine(EVERYTHING) as made:
        made.send(body(twins))
        assert session(made)["unpricedCalls"] == 1
        [number] = made.store.unpriced(made.tenant_no)
        made.restart()
        made.intake.contracts.use(made.tenant_no, made.catalog, lambda *call: cost_of(call[2], RATES))
        made.store.begin()
        assert made.intake.reprice(made.tenant_no, number, made.now_ns)
        made.store.commit(made.policy)
        totals = session(made)
        assert (totals["unpricedCalls"], totals["tokens"]["total"], totals["providerCost"]) == (0, 150, COST)


def test_what_a_twin_told_is_told_again_when_the_customer_is_known() -> None:
    """Booking a call again under a new plan loses neither the cost nor the tokens that another span knew."""
    told = tool(2, name="ask", gen_ai__tool__call__id="c", aforo__provider_cost="0.5", **ACME)
    twins = [tool(1, name="ask", start_s=-1, seconds=9, gen_ai__tool__call__id="c", **ACME), told]
    with readings.engine(Catalog()) as made:
        made.send(body(twins))
        bring_catalog(made, readings.catalog(), 3)
        assert session(made)["providerCost"] == "0.5"


def test_an_agents_total_does_not_hold_its_tools_tokens() -> None:
    """What a tool's server used is not in the total that the agent's framework counts: both are billed."""
    agent = span(1, name="invoke_agent", gen_ai__operation__name="invoke_agent", **TOKENS, **ACME)
    with readings.engine(EVERYTHING) as made:
        made.send(body([agent, telling(2, 1)]))
        assert session(made)["tokens"]["total"] == 300


def test_the_price_list_of_the_engine_is_what_the_tests_say() -> None:
    """The cost above is that of the tokens above."""
    from aforo_collector.domain.cost import pools_of

    found = cost_of(pools_of(100, 50)[0], RATES)
    assert not isinstance(found, Unpriced)
    assert plain(found) == COST


OTHER = "opentelemetry.instrumentation.other"


def elsewhere(span_id: int, tokens: int = 100, start_s: float = 0.2, customer: str = "acme") -> Any:
    """A model call in a trace of its own, told by another instrumentation while the tool ran."""
    return chat(
        span_id, tokens=tokens, trace=span_id, source=OTHER, start_s=start_s, seconds=0.2,
        aforo__customer__id=customer,
    )  # fmt: skip


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "called",
    [
        [elsewhere(7)],
        [elsewhere(7, 60), elsewhere(8, 40, 0.5)],
        [elsewhere(7), elsewhere(8, 40, 0.5)],
    ],
    ids=["one call", "the sum of two", "one of two"],
)
@pytest.mark.parametrize("tells_inside", [False, True])
def test_tokens_that_a_call_in_another_trace_tells_are_billed_there(
    called: list[dict[str, Any]], restarted: bool, tells_inside: bool
) -> None:
    """A client's instrumentation does not see our tool call around its own: its tokens still bill once."""
    used = sum(one["attributes"]["gen_ai.usage.input_tokens"] * 3 // 2 for one in called)
    tool_calls = [tool(1, name="ask", **ACME), telling(2, 1)] if tells_inside else [telling(1)]
    for order in permutations([*tool_calls, *called]):
        with readings.engine(EVERYTHING) as made:
            for one in order:
                made.send(body([one]))
                if restarted:
                    made.restart()
            found = billed(made)
            tokens = sum(count for name, count in found.items() if "tokens" in name)
            assert (tokens, found["tool_calls ask None"]) == (used, 1)
            assert not [name for name in found if "tokens ask" in name or "cost ask" in name]


def at_once(span_id: int, start_s: float, seconds: float) -> Any:
    """A tool call that tells of the same tokens, in a trace of its own."""
    return telling(span_id, trace=span_id, start_s=start_s, seconds=seconds)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_each_call_elsewhere_is_what_one_tool_used(calls: int, restarted: bool) -> None:
    """Of tools at the same time that used as much, as many bill their tokens as have no call of their own."""
    tools = [at_once(1, 0, 2), at_once(2, 0.1, 0.5), at_once(3, 0.1, 1)]
    called = [elsewhere(7, start_s=0.2), elsewhere(8, start_s=0.3), elsewhere(9, start_s=1.2)][:calls]
    orders = permutations([*tools, *called])
    for order in islice(orders, 0, None, 1 if calls < 2 else 17 if calls < 3 else 97):
        with readings.engine(EVERYTHING) as made:
            for one in order:
                made.send(body([one]))
                if restarted:
                    made.restart()
            assert billed(made)["output_tokens ask m-1"] == 50 * (3 - calls)


@pytest.mark.parametrize(
    "called",
    [
        elsewhere(7, 60),
        elsewhere(7, start_s=0.9),
        elsewhere(7, start_s=-0.1),
        elsewhere(7, customer="globex"),
    ],
    ids=["other tokens", "ends later", "began before", "another customer"],
)
def test_tokens_that_nobody_else_tells_stay_on_the_tool(called: dict[str, Any]) -> None:
    """A call that differs in its tokens, its time or its customer is not what the tool used."""
    for order in permutations([telling(1), called]):
        with readings.engine(EVERYTHING) as made:
            for one in order:
                made.send(body([one]))
            assert billed(made)["output_tokens ask m-1"] == 50


@pytest.mark.parametrize(("start_s", "output_tokens"), [(599, 0), (601, 50)])
def test_what_a_long_tool_used_is_looked_for_as_long_whoever_comes_first(
    start_s: float, output_tokens: int
) -> None:
    """A call ten minutes after the tool's start is its own, and in any order."""
    for order in permutations([telling(1, seconds=1500), elsewhere(7, start_s=start_s)]):
        with readings.engine(EVERYTHING) as made:
            for one in order:
                made.send(body([one]))
            assert billed(made)["output_tokens ask m-1"] == output_tokens


@pytest.mark.parametrize("restarted", [False, True])
def test_a_tool_bills_its_tokens_again_when_the_call_elsewhere_is_none(restarted: bool) -> None:
    """A call that turns out to be the total of another one, of other tokens, leaves the tool's to the tool."""
    inside = chat(9, 7, tokens=40, trace=7, source=OTHER, start_s=0.3, seconds=0.1, **ACME)
    with readings.engine(EVERYTHING) as made:
        made.send(body([telling(1)]), body([elsewhere(7)]))
        assert billed(made)["output_tokens ask m-1"] == 0
        if restarted:
            made.restart()
        made.send(body([inside]))
        found = billed(made)
        assert (found["output_tokens ask m-1"], found["output_tokens None m-1"]) == (50, 20)


def test_a_models_usage_has_what_tools_tell_of_it() -> None:
    """Asked for one model, analytics adds up what it adds up for that model when it groups by models."""
    with readings.engine(EVERYTHING) as made:
        made.send(body([telling(1), telling(2, name="tell", model="m-2"), chat(3, model="m-1", **ACME)]))

        def usage(*keys: str, **only: str) -> list[dict[str, Any]]:
            query = UsageQuery(group_by=("metricName", *keys), only=only)
            items: list[dict[str, Any]] = readings.reading(made).usage(made.tenant_no, query)["items"]
            return items

        for model in ("m-1", "m-2"):
            grouped = [row for row in usage("model") if row["model"] == model]
            assert (
                usage(model=model)
                == [{n: v for n, v in row.items() if n != "model"} for row in grouped]
                != []
            )
        assert usage(model="m-1", toolName="tell") == []
        assert usage(model="m-2", toolName="tell") == usage(toolName="tell") != []
