"""Models that CrewAI calls through LiteLLM, of which it does not tell all ends.

LiteLLM is not installed here. What stands in for it calls the fake server with OpenAI's client, and has the
names that CrewAI looks for; where its answers keep the usage is LiteLLM's way.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from crewai import LLM, Crew, llm
from openai import OpenAI
from openai.types.chat import ChatCompletion

from tests.fake_openai import Reply, Usage, fake_openai
from tests.plugins.crewai.crews import asks, crew, lookup
from tests.plugins.spool import ReadSpans

_PASSED_ON = ("messages", "tools")
Routed = Callable[[str], LLM]


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Routed:
    """A model through what stands in for LiteLLM, at the url of a server."""

    def completion(**asked: Any) -> ChatCompletion:
        with OpenAI(base_url=asked["base_url"], api_key="none", max_retries=0) as client:
            wanted = {name: asked[name] for name in _PASSED_ON if asked.get(name)}
            answer = client.chat.completions.create(model="stub-1", **wanted)
        assert answer.usage is not None
        assert answer.model_extra is not None
        answer.model_extra["usage"] = answer.usage.model_dump()
        return answer

    litellm = SimpleNamespace(
        completion=completion,
        utils=SimpleNamespace(supports_function_calling=lambda *_, **__: True),
        success_callback=[],
        _async_success_callback=[],
        callbacks=[],
    )
    for name, value in {
        "_litellm_loaded": True,
        "LITELLM_AVAILABLE": True,
        "litellm": litellm,
        "ModelResponseBase": ChatCompletion,
        "get_supported_openai_params": lambda model: ["stop", "tools"],
    }.items():
        monkeypatch.setattr(llm, name, value, raising=False)
    return lambda url: LLM(model="openai/stub-1", is_litellm=True, base_url=url)


def run(routed: Routed, script: Sequence[Reply], times: int = 1) -> Crew:
    """Let a crew of one agent with a tool work."""
    with fake_openai(list(script)) as server:
        team = crew(routed(server.url), lookup)
        for _ in range(times):
            team.kickoff()
    return team


OSLO = ("lookup", {"city": "Oslo"})


def test_a_call_that_asks_for_tools(metered: ReadSpans, routed: Routed) -> None:
    """Its tokens stand on a span of its own, which the tools and the next call are not inside of."""
    run(routed, [
        asks(OSLO, ("lookup", {"city": "Rome"}), usage=Usage(70, 5, cached_tokens=20)),
        asks(OSLO, usage=Usage(90, 6)),
        Reply("It rains.", usage=Usage(120, 9)),
    ])  # fmt: skip
    seen = metered()
    steps = sorted((span for span in seen if span["aforo.step.type"]), key=lambda s: s["aforo.step.index"])
    calls = [step for step in steps if step.name == "chat openai/stub-1"]
    assert [step.name.split()[0] for step in steps] == [
        "chat", "execute_tool", "execute_tool", "chat", "execute_tool", "chat",
    ]  # fmt: skip
    assert {step.parent for step in steps} == {seen.one("invoke_agent researcher").id}
    assert [call["gen_ai.usage.input_tokens"] for call in calls] == [70, 90, 120]
    assert [call["gen_ai.usage.output_tokens"] for call in calls] == [5, 6, 9]
    assert calls[0]["gen_ai.usage.cache_read.input_tokens"] == 20
    assert [call["aforo.usage.quality"] for call in calls] == ["reported"] * 3
    assert [call["aforo.step.type"] for call in calls] == ["MODEL_CALL", "MODEL_CALL", "FINAL_ANSWER"]
    assert not any(step.failed for step in steps)


def test_a_run_that_fails_after_a_call_that_asks(metered: ReadSpans, routed: Routed) -> None:
    """What the call has used is billed all the same."""
    with pytest.raises(Exception, match="gone"):
        run(routed, [asks(OSLO, usage=Usage(70, 5)), *[Reply("gone", status=400)] * 9])
    calls = metered().named("chat openai/stub-1")
    assert [(call["gen_ai.usage.input_tokens"], call.failed) for call in calls] == [(70, False)] + [
        (None, True)
    ] * (len(calls) - 1)


def test_a_crew_that_runs_again(metered: ReadSpans, routed: Routed) -> None:
    """Each call is heard of once, however often its agent has worked before."""
    script = [asks(OSLO, usage=Usage(70, 5)), Reply("Rain.", usage=Usage(50, 3))]
    team = run(routed, script * 2, times=2)
    listeners = team.agents[0].agent_executor.callbacks
    assert len(listeners) == len({type(listener) for listener in listeners})
    calls = metered().named("chat openai/stub-1")
    assert sorted(call["gen_ai.usage.input_tokens"] for call in calls) == [50, 50, 70, 70]
