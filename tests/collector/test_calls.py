"""Which spans are the record of a call: wrappers, claims, twins, third-party identity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .engine import Engine, body, span

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"}
TOKENS = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10}
ACME = {"aforo.customer.id": "acme"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that takes everything."""
    made = Engine(tmp_path)
    yield made
    made.database.close()


def billed(engine: Engine) -> list[tuple[int, int, int]]:
    """(span id, calls, tokens) of everything that counts."""
    return engine.query(
        "SELECT span_id, calls, input + output + reasoning + cache_read + cache_write FROM usage_events"
        " WHERE kind != 5 AND event_no NOT IN (SELECT event_no FROM voided) ORDER BY span_id"
    )


def _in_every_order(tmp_path: Path, spans: list[dict[str, Any]], together: bool) -> set[tuple[Any, ...]]:
    """What is billed, for every order of the spans, each sent alone or all in one batch."""
    found = set()
    for number, order in enumerate(itertools.permutations(spans)):
        engine = Engine(tmp_path / f"{number}-{together}")
        if together:
            engine.send(body(order))
        else:
            for one in order:
                engine.send(body([one]))
                engine.restart()
        found.add(tuple(billed(engine)))
        engine.database.close()
    return found


@pytest.mark.parametrize("together", [True, False])
def test_a_wrapper_and_its_client_span_are_one_call(tmp_path: Path, together: bool) -> None:
    """A framework's model span above the provider client's: the inner one bills, once."""
    spans = [span(1, **ACME, **CHAT, **TOKENS), span(2, 1, **ACME, **CHAT, **TOKENS)]

    assert _in_every_order(tmp_path, spans, together) == {((2, 1, 110),)}


@pytest.mark.parametrize("together", [True, False])
def test_an_agents_total_is_a_claim(tmp_path: Path, together: bool) -> None:
    """Totals on agents and workflows are never added to the calls below them."""
    agent = {"gen_ai.operation.name": "invoke_agent"}
    spans = [
        span(1, **ACME, **agent, **{"gen_ai.usage.input_tokens": 200, "gen_ai.usage.output_tokens": 20}),
        span(2, 1, **ACME, **CHAT, **TOKENS),
        span(3, 1, **ACME, **CHAT, **TOKENS),
    ]

    assert _in_every_order(tmp_path, spans, together) == {((2, 1, 110), (3, 1, 110))}


@pytest.mark.parametrize("together", [True, False])
def test_a_total_without_calls_below_is_billed_as_rolled_up(tmp_path: Path, together: bool) -> None:
    """Where only the agent carries tokens, the innermost total bills, flagged."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.response.model": "m-1"}
    workflow = {"gen_ai.operation.name": "invoke_workflow"}
    spans = [span(1, **ACME, **workflow, **TOKENS), span(2, 1, **ACME, **agent, **TOKENS), span(3, 2, **ACME)]

    assert _in_every_order(tmp_path, spans, together) == {((2, 1, 110),)}


@pytest.mark.parametrize("together", [True, False])
def test_a_chain_of_tool_spans_is_one_tool_call(tmp_path: Path, together: bool) -> None:
    """A proxy chain of spans for one tools/call is one logical call, the outermost; another tool below is another."""
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup"}
    mcp = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "lookup"}
    spans = [
        span(1, **ACME, **tool),
        span(2, 1, **ACME),
        span(3, 2, **ACME, **mcp),
        span(4, 3, **ACME, **{**tool, "gen_ai.tool.name": "geocode"}),
    ]

    assert _in_every_order(tmp_path, spans, together) == {((1, 1, 0), (4, 1, 0))}


def _outcomes(engine: Engine) -> list[tuple[int, str]]:
    """(span id, status) of everything that counts."""
    return engine.query(
        "SELECT span_id, name FROM usage_events JOIN names ON name_no = status_no"
        " WHERE kind != 5 AND event_no NOT IN (SELECT event_no FROM voided) ORDER BY span_id"
    )


@pytest.mark.parametrize("restart", [True, False])
def test_a_tool_call_went_as_whoever_was_nearest_says(tmp_path: Path, restart: bool) -> None:
    """A framework calls a success what the server inside has called an error: the call is an error."""
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup"}
    spans = [
        span(1, **ACME, **tool),
        span(2, 1, name="HTTP"),
        span(3, 2, **tool),
        span(4, 3, error=True, **tool),
        span(5, 1, error=True, **(tool | {"gen_ai.tool.name": "write"})),
    ]
    found = set()
    for number, order in enumerate(itertools.permutations(spans)):
        engine = Engine(tmp_path / f"{number}")
        for one in order:
            engine.send(body([one]))
            if restart:
                engine.restart()
        found.add(tuple(_outcomes(engine)))
        engine.database.close()

    assert found == {((1, "ERROR"), (5, "ERROR"))}


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_siblings_with_one_tool_call_id_share_what_they_know(
    tmp_path: Path, together: bool, inside: bool
) -> None:
    """A proxy and the server behind it tell of one call: what either knows of its cost and end is on the bill.

    So is what a span inside of the other one knows.
    """
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup",
        "gen_ai.tool.call.id": "call-1",
    }
    spans = [
        span(1, 9, seconds=3, **ACME, **tool),
        span(2, 9, error=True, **tool, **{"aforo.provider_cost": "0.5"}),
    ]
    if inside:
        spans += [span(3, 2, **spans[1]["attributes"], error=True)]
        spans[1] = span(2, 9, **tool)
        del spans[2]["attributes"]["gen_ai.tool.call.id"]
    found = set()
    for number, order in enumerate(itertools.permutations(spans)):
        engine = Engine(tmp_path / f"{number}")
        if together:
            engine.send(body(order))
        else:
            for one in order:
                engine.send(body([one]))
                engine.restart()
        costs = engine.query(
            "SELECT cost FROM usage_events WHERE kind = 2 AND event_no NOT IN (SELECT event_no FROM voided)"
        )
        aside = engine.query("SELECT count(*) FROM quarantine")
        found.add((tuple(_outcomes(engine)), tuple(costs), tuple(aside)))
        engine.database.close()

    assert found == {(((1, "ERROR"),), (("0.5",),), ((0,),))}


@pytest.mark.parametrize("together", [True, False])
def test_siblings_with_one_response_id_are_one_call(tmp_path: Path, together: bool) -> None:
    """Two instrumentations side by side share the provider's response id: the span that knows more bills."""
    response = {"gen_ai.response.id": "resp-1"}
    spans = [
        span(1, **ACME, **CHAT, **response, seconds=3),
        span(2, **ACME, **CHAT, **response, **TOKENS, start_s=0.5, seconds=2),
        span(3, **ACME, **CHAT, **response, **TOKENS, start_s=60),
    ]

    assert _in_every_order(tmp_path, spans, together) == {((2, 1, 110), (3, 1, 110))}, (
        "the third came later: some servers use an id again"
    )


@pytest.mark.parametrize("together", [True, False])
def test_what_a_sibling_leaves_out_is_not_taken_off_the_bill(tmp_path: Path, together: bool) -> None:
    """The span that tells which tokens were reasoning is the record, and stays what it is beside one that does not."""
    response = {"gen_ai.response.id": "resp-1"}
    told = {"gen_ai.usage.reasoning.output_tokens": 4}
    found = set()
    for number, order in enumerate(itertools.permutations([
        span(1, **ACME, **CHAT, **response, **TOKENS, seconds=3),
        span(2, **ACME, **CHAT, **response, **TOKENS, **told, start_s=0.5, seconds=2),
    ])):  # fmt: skip
        engine = Engine(tmp_path / f"{number}")
        for spans in [order] if together else [[one] for one in order]:
            engine.send(body(spans))
        found.add(tuple(engine.query(
            "SELECT input, output, reasoning FROM usage_events WHERE kind = 1"
            " AND event_no NOT IN (SELECT event_no FROM voided)"
        )))  # fmt: skip
        engine.database.close()

    assert found == {((100, 6, 4),)}


@pytest.mark.parametrize("together", [True, False])
def test_identity_comes_from_the_nearest_ancestor(tmp_path: Path, together: bool) -> None:
    """Third-party spans without a customer are billed to that of the span above them, whenever it arrives."""
    spans = [
        span(1, **ACME, **{"aforo.session.id": "s-1"}),
        span(2, 1),
        span(3, 2, **CHAT, **TOKENS),
    ]

    assert _in_every_order(tmp_path, spans, together) == {((3, 1, 110),)}


def test_a_span_without_customer_waits_in_quarantine(engine: Engine) -> None:
    """Nobody pays for a span that names no customer until an ancestor does; it is kept, with its reason."""
    engine.send(body([span(2, 1, **CHAT, **TOKENS)]))
    assert engine.query("SELECT code FROM quarantine") == [("NO_CUSTOMER",)]
    assert billed(engine) == []

    engine.send(body([span(1, **ACME)]))
    assert engine.query("SELECT code FROM quarantine") == []
    assert billed(engine) == [(2, 1, 110)]


def test_identity_may_stand_on_the_resource(engine: Engine) -> None:
    """OTEL_RESOURCE_ATTRIBUTES can say who pays for all spans of a process."""
    engine.send(
        body([span(1, **CHAT, **TOKENS)], {"aforo.customer.id": "acme", "aforo.product.type": "AI_AGENT"})
    )

    assert engine.query(
        "SELECT customer_id, product_type FROM payers JOIN customers USING (customer_no)"
    ) == [("acme", "AI_AGENT")]
    assert billed(engine) == [(1, 1, 110)]


def test_old_and_new_names_bill_the_same(engine: Engine) -> None:
    """Token names of every generation of the conventions give the same pools."""
    new = {
        "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.cache_read.input_tokens": 30, "gen_ai.usage.cache_write.input_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 5,
    }  # fmt: skip
    old = {
        "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 50,
        "gen_ai.usage.cache_read_input_tokens": 30, "gen_ai.usage.cache_creation.input_tokens": 20,
        "gen_ai.usage.reasoning_tokens": 5,
    }  # fmt: skip
    engine.send(body([span(1, trace=1, **ACME, **CHAT, **new), span(2, trace=2, **ACME, **CHAT, **old)]))

    pools = engine.query("SELECT input, output, reasoning, cache_read, cache_write, cost FROM usage_events")
    assert pools[0] == pools[1]
    assert pools[0][:5] == (50, 45, 5, 30, 20)


def test_a_cached_answer_costs_nothing(engine: Engine) -> None:
    """An answer from the framework's cache is a step of the agent, but neither tokens nor a model call."""
    engine.send(body([span(1, **ACME, **CHAT, **TOKENS, **{"aforo.usage.quality": "cached_response"})]))

    assert engine.query("SELECT calls, model_calls, input, cost, reason_no FROM usage_events") == [
        (1, 0, 0, None, 0)
    ]


def test_one_more_span_costs_the_same_in_a_trace_of_any_size(engine: Engine) -> None:
    """The statements that one more span needs do not grow with its trace."""
    counts = []
    for size in (10, 3_000):
        trace = size
        engine.send(body([span(1, trace=trace, **ACME)]))
        for first in range(2, size, 100):
            ids = range(first, min(first + 100, size))
            engine.send(body([span(n, 1, trace=trace, **ACME, **CHAT, **TOKENS) for n in ids]))
        engine.restart()
        seen: list[str] = []
        engine.database.write.set_trace_callback(seen.append)
        engine.send(body([span(size + 1, 1, trace=trace, **ACME, **CHAT, **TOKENS)]))
        engine.database.write.set_trace_callback(None)
        counts.append(len(seen))

    assert counts[0] == counts[1]
