"""Models of the user's own: those that tell CrewAI's bus nothing, and those that do."""

from typing import Any

import pytest
from crewai import LLM, BaseLLM, Crew
from crewai.events import crewai_event_bus
from crewai.events.types.hook_events import HookDispatchedEvent
from crewai.hooks import InterceptionPoint, register_hook, unregister_hook
from crewai.llms.base_llm import LLMCallType, llm_call_context
from crewai.tools import tool
from crewai.utilities.internal_instructor import InternalInstructor
from pydantic import BaseModel, PrivateAttr

from tests.fake_openai import FakeOpenAI, Reply, fake_openai
from tests.plugins.crewai.crews import LAST_WORD, Silent, agent, asks, crew, lookup, model, task
from tests.plugins.spool import ReadSpans


class Telling(BaseLLM):
    """A model of the user's own that emits CrewAI's events, with usage."""

    def call(
        self, messages: Any, *args: Any, from_task: Any = None, from_agent: Any = None, **more: Any
    ) -> str:
        """Answer."""
        with llm_call_context():
            self._emit_call_started_event(messages, from_task=from_task, from_agent=from_agent)
            self._emit_call_completed_event(
                LAST_WORD,
                LLMCallType.LLM_CALL,
                from_task=from_task,
                from_agent=from_agent,
                usage={"prompt_tokens": 7, "completion_tokens": 3},
            )
        return LAST_WORD


class Routing(BaseLLM):
    """A model of the user's own that passes on to one of CrewAI's."""

    _inner: LLM = PrivateAttr()

    def call(self, messages: Any, *args: Any, **more: Any) -> Any:
        """Let the inner model answer."""
        return self._inner.call(messages)


@pytest.mark.parametrize("way", ["crew", "agent", "async"])
def test_a_silent_model(metered: ReadSpans, way: str) -> None:
    """A model that emits no events is a call without tokens, marked as missing, of no provider anyone named."""
    silent = Silent(model="mine")
    if way == "agent":
        agent(silent).kickoff("hello")
    elif way == "async":
        import asyncio

        asyncio.run(crew(silent).akickoff())
    else:
        crew(silent).kickoff()
    seen = metered()
    call = seen.one("chat mine")
    assert (call["aforo.usage.quality"], call["aforo.step.type"], call.failed) == (
        "missing",
        "FINAL_ANSWER",
        False,
    )
    assert call["gen_ai.provider.name"] is None
    assert call.parent == seen.one("invoke_agent researcher").id


def test_a_silent_model_that_asks_for_tools(metered: ReadSpans) -> None:
    """Where the answer is a list of tool calls no hook says that it came; the tool's start does."""
    wanted = [
        {"id": "call-1", "type": "function", "function": {"name": "lookup", "arguments": '{"city":"Oslo"}'}}
    ]
    crew(Silent(model="mine", native=True, answers=[wanted, "rain"]), lookup).kickoff()
    seen = metered()
    steps = sorted((span for span in seen if span["aforo.step.type"]), key=lambda s: s["aforo.step.index"])
    assert [step.name for step in steps] == ["chat mine", "execute_tool lookup", "chat mine"]
    assert not any(step.failed for step in steps)


def test_a_silent_model_that_raises(metered: ReadSpans) -> None:
    """A call that raises is a failed one, and the attempts that follow it are calls of their own."""
    crew(Silent(model="mine", answers=[ConnectionError("down")])).kickoff()
    failed, answered = metered().named("chat mine")
    assert (failed["error.type"], failed["aforo.usage.quality"]) == ("_OTHER", None)
    assert (answered.failed, answered["aforo.usage.quality"]) == (False, "missing")


def test_a_model_that_tells(metered: ReadSpans) -> None:
    """A model that emits events is counted by them, and not by the hooks too."""
    crew(Telling(model="telling")).kickoff()
    call = metered().one("chat telling")
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (7, 3)


def test_a_model_that_passes_on(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A model that passes on to one that emits events is one call: that of the inner one."""
    routing = Routing(model="routing")
    routing._inner = model(server)
    crew(routing).kickoff()
    (call,) = [span for span in metered() if span["gen_ai.operation.name"] == "chat"]
    assert (call.name, call["gen_ai.usage.input_tokens"]) == ("chat stub-1", 100)


class Weather(BaseModel):
    """What an answer is brought into."""

    city: str


def test_an_answer_that_is_brought_into_shape(metered: ReadSpans) -> None:
    """A model that is called past its class, by the library that brings answers into shape, is a call too."""

    @tool("where")
    def where(text: str) -> str:
        """Find the city in a text."""
        return InternalInstructor(text, Weather, llm=model(server)).to_pydantic().city

    script = [asks(("where", {"text": "in Oslo"})), asks(("Weather", {"city": "Oslo"})), Reply(LAST_WORD)]
    with fake_openai(script) as server:
        crew(model(server), where).kickoff()
        assert len(server.served) == 3
    seen = metered()
    (inner,) = [span for span in seen.under(seen.one("execute_tool where")) if span.name == "chat stub-1"]
    assert (inner["gen_ai.usage.input_tokens"], inner["aforo.usage.quality"]) == (None, "missing")
    assert not inner.failed
    assert len(seen.named("chat stub-1")) == 3


def test_no_hook_of_ours_where_events_tell(metered: ReadSpans, server: FakeOpenAI) -> None:
    """CrewAI makes an event of every call of a hook: none is called where its own models tell enough."""
    dispatched: list[Any] = []
    with crewai_event_bus.scoped_handlers():
        crewai_event_bus.on(HookDispatchedEvent)(lambda source, event: dispatched.append(event))
        crew(model(server)).kickoff()
        crewai_event_bus.flush()
        assert not dispatched
        crew(Silent(model="mine")).kickoff()
        crewai_event_bus.flush()
        assert [event.interception_point for event in dispatched] == ["pre_model_call", "post_model_call"]


def test_the_users_hooks_beside_ours(metered: ReadSpans) -> None:
    """Hooks of the user's run as they would, and what they make of an answer is what the crew gets."""
    seen: list[str] = []

    def before(context: Any) -> None:
        seen.append("before")

    def after(context: Any) -> str:
        seen.append("after")
        return "Thought: x\nFinal Answer: amended"

    register_hook(InterceptionPoint.PRE_MODEL_CALL, before)
    register_hook(InterceptionPoint.POST_MODEL_CALL, after)
    try:
        assert "amended" in str(crew(Silent(model="mine")).kickoff())
    finally:
        unregister_hook(InterceptionPoint.PRE_MODEL_CALL, before)
        unregister_hook(InterceptionPoint.POST_MODEL_CALL, after)
    assert seen == ["before", "after"]
    assert len(metered().named("chat mine")) == 1


def test_an_agent_that_ran_before(spans: ReadSpans) -> None:
    """An agent whose executor is older than `instrument()` is metered from then on, once per call."""
    import aforo_crewai

    worker = agent(Silent(model="mine"))
    team = Crew(agents=[worker], tasks=[task(worker)])
    team.kickoff()
    for rounds in range(1, 3):
        aforo_crewai.instrument()
        team.kickoff()
        assert len(spans().named("chat mine")) == rounds
        aforo_crewai.uninstrument()
        team.kickoff()
        assert len(spans().named("chat mine")) == rounds
