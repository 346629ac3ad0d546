"""One call that two instrumentations tell of, in traces that do not know of each other, bills once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.domain.echoes import Call, echoes_of
from aforo_collector.service.quarantine import Quarantine
from hypothesis import given
from hypothesis import strategies as st

from .engine import Engine, body, span
from .readings import catalog, every, reading

ACME = {"aforo.customer.id": "acme"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1", **ACME}
TOKENS = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10}
DETAILS = TOKENS | {"gen_ai.usage.cache_read.input_tokens": 40}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup", **ACME}
OURS, OTHER = "aforo", "opentelemetry.instrumentation.other"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that takes everything."""
    made = Engine(tmp_path, catalog())
    yield made
    made.database.close()


def billed(engine: Engine) -> list[tuple[int, int]]:
    """(span id, tokens) of everything that counts."""
    return engine.query(
        "SELECT span_id, input + output + reasoning + cache_read + cache_write FROM usage_events"
        " WHERE kind IN (1, 2) AND event_no NOT IN (SELECT event_no FROM voided) ORDER BY span_id"
    )


def told_by(source: str, number: int, start_s: float = 0, **attributes: Any) -> Any:
    """A span in a trace of its own."""
    return span(number, trace=number, source=source, start_s=start_s, seconds=1, **attributes)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("together", [True, False])
def test_three_tellers_of_one_call_are_one_call(
    engine: Engine, order: tuple[int, ...], together: bool
) -> None:
    """Whoever comes first, together or after a restart: ours is the record, with what it knows."""
    spans = [
        told_by(OTHER, 1, 0.1, **CHAT, **TOKENS),
        told_by(OURS, 2, **CHAT, **DETAILS),
        told_by("a third", 3, 0.2, **CHAT),
    ]
    chosen = [spans[place] for place in order]
    if together:
        engine.send(*[body([one]) for one in chosen])
    else:
        for one in chosen:
            engine.send(body([one]))
            engine.restart()

    assert billed(engine) == [(2, 110)]


def test_two_calls_at_once_each_told_twice_are_two(engine: Engine) -> None:
    """What is the same is paired one to one, so that equal calls side by side are not lost."""
    engine.send(
        body([told_by(source, number, **TOOL) for number, source in enumerate((OURS, OURS, OTHER, OTHER), 1)])
    )

    assert billed(engine) == [(1, 0), (2, 0)]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("nameless", [[1], [2], [1, 2]])
@pytest.mark.parametrize("late", [False, True])
def test_a_trace_that_was_assigned_is_told_of_twice_like_any_other(
    engine: Engine, nameless: list[int], late: bool, restarted: bool
) -> None:
    """Whose calls they are may be known by hand only, before or after the others come: they are billed once."""
    spans = [told_by(OURS, 1, **CHAT, **DETAILS), told_by(OTHER, 2, 0.1, **CHAT, **TOKENS)]
    for number in nameless:
        del spans[number - 1]["attributes"]["aforo.customer.id"]
    sent = [spans[number - 1] for number in nameless] if late else spans
    engine.send(body(sent))
    quarantine = Quarantine(engine.store, engine.intake)
    for (number,) in engine.query("SELECT quarantine_no FROM quarantine"):
        engine.store.begin()
        assert quarantine.assign(engine.tenant_no, number, "acme", engine.now_ns)
        engine.intake.finish(engine.now_ns)
        engine.store.commit(engine.policy)
    if restarted:
        engine.restart()
    engine.send(body([one for one in spans if one not in sent]))
    engine.send(body([span(3, number, trace=number, **ACME) for number in (1, 2)]))

    assert billed(engine) == [(1, 110)]


@pytest.mark.parametrize(
    "other",
    [
        {**CHAT, **TOKENS, "gen_ai.usage.output_tokens": 11},
        {**CHAT, **TOKENS, "aforo.customer.id": "globex"},
        {**CHAT, **TOKENS, "gen_ai.response.id": "another"},
        {**TOOL},
    ],
    ids=["other tokens", "another customer", "another response", "a tool"],
)
def test_what_differs_is_not_the_same_call(engine: Engine, other: dict[str, Any]) -> None:
    """Calls at the same time that differ in what they used, in who pays or in their ids are two calls."""
    engine.send(
        body(
            [told_by(OURS, 1, **CHAT, **TOKENS, **{"gen_ai.response.id": "one"}), told_by(OTHER, 2, **other)]
        )
    )

    assert len(billed(engine)) == 2


def test_one_instrumentation_does_not_echo_itself(engine: Engine) -> None:
    """Two equal calls at once that one instrumentation tells of are two calls."""
    engine.send(body([told_by(OTHER, 1, **CHAT, **TOKENS), told_by(OTHER, 2, **CHAT, **TOKENS)]))

    assert billed(engine) == [(1, 110), (2, 110)]


def test_an_answer_out_of_a_cache_stays_free(engine: Engine) -> None:
    """Others repeat what the answer cost the first time; who knows of the cache is right."""
    engine.send(body([told_by(OTHER, 1, **CHAT, **TOKENS)]))
    engine.send(body([told_by(OURS, 2, **CHAT, **{"aforo.usage.quality": "cached_response"})]))

    assert billed(engine) == [(2, 0)]


def test_an_agent_of_whose_calls_nobody_tells_is_flagged_until_somebody_does(engine: Engine) -> None:
    """Its own instrumentation tells of no calls: flagged as missing; told by another: billed, not flagged."""
    agent = {"gen_ai.operation.name": "invoke_agent", "aforo.usage.quality": "missing", **ACME}
    engine.send(body([told_by(OTHER, 1, **agent)]))
    assert billed(engine) == [(1, 0)]

    engine.send(body([told_by(OURS, 2, 0.5, **CHAT, **TOKENS)]))
    assert billed(engine) == [(2, 110)]


def test_a_second_instrumentation_takes_nothing_from_a_call(engine: Engine) -> None:
    """What a twin knew of a call stays on the bill when the customer's calls are looked through for echoes."""
    call = {"gen_ai.tool.call.id": "call-1"}
    engine.send(body([
        span(1, 9, source=OURS, seconds=3, **TOOL, **call),
        span(2, 9, source=OURS, error=True, **TOOL, **call, **{"aforo.provider_cost": "0.5"}),
    ]))  # fmt: skip
    engine.restart()
    engine.send(body([told_by(OTHER, 3, 50, **CHAT, **TOKENS)]))

    assert engine.query(
        "SELECT span_id, cost, name FROM usage_events JOIN names ON name_no = status_no"
        " WHERE kind = 2 AND event_no NOT IN (SELECT event_no FROM voided)"
    ) == [(1, "0.5", "ERROR")]


def test_a_price_that_comes_later_finds_the_fullest_tokens(engine: Engine) -> None:
    """A call that is rated later has the tokens that the span around it told, as before."""
    model = {**CHAT, "gen_ai.request.model": "mystery"}
    engine.send(body([span(1, source=OURS, **model, **DETAILS), span(2, 1, source=OTHER, **model, **TOKENS)]))
    pools = (
        "SELECT input, cache_read, output FROM usage_events"
        " WHERE kind = 1 AND event_no NOT IN (SELECT event_no FROM voided)"
    )
    before = engine.query(pools)
    (event_no,) = engine.store.unpriced(engine.tenant_no)
    known = Decimal(1)
    engine.intake.contracts.use(engine.tenant_no, engine.catalog, lambda *_: known)
    engine.store.begin()
    assert engine.intake.reprice(engine.tenant_no, event_no, engine.now_ns)
    engine.store.commit(engine.policy)

    assert engine.query(pools) == before == [(60, 40, 10)]


def test_a_session_that_only_echoes_is_not_billed_as_one(engine: Engine) -> None:
    """The trace of the other instrumentation is no session of the customer's: its final event counts none."""
    engine.send(body([told_by(OURS, 1, **CHAT, **TOKENS), told_by(OTHER, 2, **CHAT, **TOKENS)]))
    engine.now_ns += 2 * 3600 * 10**9
    engine.store.begin()
    engine.intake.finals.close_due(engine.now_ns)
    engine.store.commit(engine.policy)

    events = every(
        reading(engine).usage_events, tenant_no=engine.tenant_no, metric_name="agentic_api.sessions"
    )
    assert [event["quantity"] for event in events] == ["1"]


calls = st.builds(
    Call,
    start_ns=st.integers(0, 3 * 10**9),
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.integers(1, 50),
    end_ns=st.integers(3 * 10**9, 4 * 10**9),
    role=st.sampled_from((1, 2)),
    source=st.sampled_from((OURS, OTHER, "a third")),
    label=st.sampled_from(("lookup", "write")),
    call_id=st.sampled_from(("", "", "one", "two")),
    input=st.sampled_from((0, 5, 7)),
    output=st.just(1),
    worth=st.integers(0, 20),
)


@given(st.lists(calls, max_size=12, unique_by=lambda call: (call.trace_id, call.span_id)), st.randoms())
def test_echoes_are_a_function_of_the_set(listed: list[Call], chance: random.Random) -> None:
    """The order of the calls does not matter, and of each call one span at least remains."""
    echoes = echoes_of(listed)
    chance.shuffle(listed)

    assert echoes_of(listed) == echoes
    assert not listed or len(echoes) < len(listed)
