"""Whatever CrewAI emits, in whatever order and shape: nothing raises, nothing is lost, nothing counts twice."""

from contextvars import copy_context
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from aforo_crewai import mapping, metering
from aforo_crewai.scopes import SCOPES, ScopeTable
from aforo_sdk import notices
from aforo_sdk.plugin import Identity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.plugins.spool import ReadSpans

KINDS = ["crew_kickoff", "task", "agent_execution", "llm_call", "tool_usage", "memory_save", "unheard_of"]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from(["started", "completed", "failed"]),
        st.integers(0, 2),  # who emits it
        st.integers(-1, 12),  # which earlier event it is put under, or ends
    ),
    max_size=40,
)
ANYTHING: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
_ids = count()


def played(moves: list[tuple[str, str, int, int]]) -> int:
    """Play events through metering; return how many scopes that have a span were started."""
    sources = [SimpleNamespace(model="stub", provider="openai") for _ in range(3)]
    started: list[str] = []
    with_span = 0
    for kind, edge, source, place in moves:
        other = started[place] if 0 <= place < len(started) else None
        key = f"event-{next(_ids)}"
        event = SimpleNamespace(
            type=f"{kind}_{edge}",
            event_id=key,
            parent_event_id=other,
            started_event_id=other,
            tool_name="look",
        )
        event.call_id = (key if edge == "started" else other) if kind == "llm_call" else None
        if edge == "started":
            started.append(key)
            with_span += kind != "unheard_of"
        metering.see(Identity("acme"), sources[source], event)
    return with_span


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOVES)
def test_any_order(spans: ReadSpans, moves: list[tuple[str, str, int, int]]) -> None:
    """However starts and ends are mixed up, every scope is written once, in a tree whose steps are numbered
    without a gap.
    """
    notices.forget()
    before = len(spans())
    expected = played(moves)
    metering.close_all()
    seen = spans()[before:]
    late = sum(kind == "llm_call" and edge == "completed" for kind, edge, _, _ in moves)
    assert expected <= len(seen) <= expected + late
    assert len({span.id for span in seen}) == len(seen)
    assert (len(SCOPES), "crewai_handler_errors" in notices.counters()) == (0, False)
    for trace in {span.trace for span in seen}:
        steps = [span["aforo.step.index"] for span in seen if span.trace == trace and span["aforo.step.type"]]
        assert set(steps) == set(range(len(set(steps))))


@given(ANYTHING, ANYTHING)
def test_any_shape(one: Any, other: Any) -> None:
    """A field that holds what it should not says nothing, and breaks nothing."""
    event = SimpleNamespace(
        type="x", usage=one, response=[one, {"id": other, "function": {"name": one}}],
        response_id=other, call_type=one, error=other, agent_info={"role": one}, agent=other, tool_name=other,
        tool_args=one,
    )  # fmt: skip
    assert isinstance(mapping.answer_of(event).quality, str)
    assert all(isinstance(asked.call_id, str) for asked in mapping.asked_by(event))
    assert isinstance(mapping.role_of(event), str)
    assert isinstance(mapping.tool_name_of(event), str)
    assert mapping.error_of(event)[0]
    assert mapping.was_refused(event) in {True, False}
    assert mapping.is_cached(one, event) is False
    asked = [mapping.Asked("1", "look", one), mapping.Asked("2", "look", other)]
    assert mapping.taken_from(asked, "look", other) in {"1", "2"}
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("event_type", "moment"),
    [
        ("crew_kickoff_started", ("crew_kickoff", "start")),
        ("flow_paused", ("flow", "end")),
        ("agent_execution_error", ("agent_execution", "failure")),
        ("agent_logs_started", ("agent_logs", "")),
        ("tool_failure_detected", ("tool_failure", "")),
        ("nothing", ("", "")),
    ],
)
def test_moments(event_type: str, moment: tuple[str, str]) -> None:
    """The type of an event says what starts or ends."""
    assert mapping.moment_of(event_type) == moment


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        ("OpenAI API call failed: Error code: 429 - {'error': …}", True),
        ("400 INVALID_ARGUMENT. {'error': …}", True),
        ("An error occurred (ThrottlingException) when calling …", True),
        ("Failed to connect to OpenAI API: Connection error.", True),
        ("LLM call denied by budget: no", True),
        ("Failed to connect to OpenAI API: Request timed out.", False),
        ("1 validation error for Answer, input 404", False),
        ("", False),
    ],
)
def test_refusals(error: str, refused: bool) -> None:
    """Only a call that is known to have been refused is known to have cost nothing."""
    assert mapping.was_refused(SimpleNamespace(error=error)) is refused


def test_a_call_that_outlives_its_run(spans: ReadSpans) -> None:
    """The tokens of a call that ends after its run are kept, on a leaf below the span already written."""
    source = SimpleNamespace(model="stub", provider="openai")

    def tell(event_type: str, **fields: Any) -> None:
        told = {"event_id": f"late-{next(_ids)}", "parent_event_id": None, "started_event_id": None, **fields}
        metering.see(Identity("acme"), source, SimpleNamespace(type=event_type, **told))

    tell("crew_kickoff_started", event_id="run")
    tell("llm_call_started", parent_event_id="run", call_id="c-1", model="stub")
    tell("crew_kickoff_completed", started_event_id="run")
    for _ in range(2):
        tell("llm_call_completed", call_id="c-1", usage={"prompt_tokens": 9, "completion_tokens": 1})
    early, _, late = spans()
    assert (early["aforo.usage.quality"], early["gen_ai.usage.input_tokens"]) == ("missing", None)
    assert (late["gen_ai.usage.input_tokens"], late.parent, late.trace) == (9, early.id, early.trace)


def test_the_table_is_bounded(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over its bound the table gives up the oldest tree, whose spans are written."""
    monkeypatch.setattr(metering, "SCOPES", ScopeTable(open_max=3))
    for _ in range(3):
        copy_context().run(played, [("task", "started", 0, -1), ("memory_save", "started", 1, 0)])
    assert len(spans()) == 2
    metering.close_all()
    assert len(spans()) == 6
