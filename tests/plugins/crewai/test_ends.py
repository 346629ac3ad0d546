"""Every way in which a run can end, or fail to."""

import asyncio
from typing import Any

import aforo_sdk
import pytest
from aforo_crewai import metering
from crewai import Crew, Task
from crewai.flow.flow import Flow, listen, start
from crewai.hooks import HookAborted, InterceptionPoint, register_hook, unregister_hook

from tests.fake_openai import FakeOpenAI, Reply, fake_openai
from tests.plugins.crewai.crews import agent, asks, crew, lookup, model, task
from tests.plugins.spool import ReadSpans


def refuse(context: Any) -> None:
    """A hook of the user's that lets no model be called."""
    raise HookAborted("over budget")


@pytest.fixture
def refused() -> Any:
    """Register the refusing hook, which the test may take away before its end."""
    register_hook(InterceptionPoint.PRE_MODEL_CALL, refuse)
    yield lambda: unregister_hook(InterceptionPoint.PRE_MODEL_CALL, refuse)
    unregister_hook(InterceptionPoint.PRE_MODEL_CALL, refuse)


def test_a_provider_that_fails(metered: ReadSpans) -> None:
    """A failed call is one span per request, though CrewAI reports each failure twice, and bills nothing."""
    script = [Reply("boom", status=500)] * 9
    with fake_openai(script) as server, pytest.raises(Exception, match="boom"):
        crew(model(server, max_retries=0)).kickoff()
    seen = metered()
    calls = seen.named("chat stub-1")
    assert len(calls) == len(server.served) == len(seen.named("invoke_agent researcher")) > 1
    assert {(call["error.type"], call["aforo.usage.quality"]) for call in calls} == {("_OTHER", None)}
    assert len({span.trace for span in seen}) == 1
    assert all(span.failed for span in seen)
    assert {tuple(seen.path(call)) for call in calls} == {
        ("invoke_workflow weather", "task", "invoke_agent researcher", "chat stub-1")
    }


def test_the_text_of_an_error_stays_out(metered: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an error says becomes the status message only if content capture is on."""
    with fake_openai(lambda request: Reply("boom", status=400)) as server:
        for captures in (False, True):
            monkeypatch.setattr("aforo_sdk.plugin.capture_content", lambda captures=captures: captures)
            with pytest.raises(Exception, match="boom"):
                model(server, max_retries=0).call("hello")
    quiet, telling = metered().named("chat stub-1")
    assert (quiet.message, "boom" in telling.message) == ("_OTHER", True)


def test_retries_inside_the_client(metered: ReadSpans) -> None:
    """What the provider's client retries on its own is one call."""
    with fake_openai([Reply(status=429), Reply()]) as server:
        crew(model(server)).kickoff()
    (call,) = metered().named("chat stub-1")
    assert (call["gen_ai.usage.input_tokens"], call.failed, len(server.served)) == (100, False, 2)


def test_a_stream_that_breaks(metered: ReadSpans) -> None:
    """A call that fails after its first words has consumed something nobody counts: missing."""
    script = [Reply("one two three", break_after=2)] * 9
    with fake_openai(script) as server, pytest.raises(Exception, match=r".+"):
        model(server, stream=True, max_retries=0).call("hello")
    (call,) = metered().named("chat stub-1")
    assert (call.failed, call["aforo.usage.quality"]) == (True, "missing")


def test_a_call_that_times_out(metered: ReadSpans) -> None:
    """A call that our side gives up is failed, and its tokens are missing."""
    with fake_openai([Reply(delay_s=5)]) as server:
        with pytest.raises(Exception, match=r".+"):
            model(server, timeout=0.2, max_retries=0).call("hello")
        (call,) = metered().named("chat stub-1")
    assert (call.failed, call["aforo.usage.quality"]) == (True, "missing")


def test_a_server_without_usage(metered: ReadSpans) -> None:
    """A success without usage has missing tokens, not zero."""
    with fake_openai([Reply(usage=None)]) as server:
        model(server).call("hello")
    (call,) = metered()
    assert (call.failed, call["aforo.usage.quality"]) == (False, "missing")
    assert call["gen_ai.usage.input_tokens"] is None


def test_a_run_that_a_hook_refuses(metered: ReadSpans, server: FakeOpenAI, refused: Any) -> None:
    """A run whose model calls are refused leaves a closed tree without a model call, and the next run in the
    same thread is a tree of its own.
    """
    with pytest.raises(HookAborted):
        crew(model(server), name="refused").kickoff()
    refused()
    crew(model(server), name="next").kickoff()
    seen = metered()
    root = seen.one("invoke_workflow refused")
    inside = [span for span in seen if span.trace == root.trace]
    assert sorted(span.name for span in inside) == [
        "invoke_agent researcher",
        "invoke_workflow refused",
        "task",
    ]
    assert all(span.failed and span.end_ns <= root.end_ns for span in inside)
    after = seen.one("invoke_workflow next")
    assert (after.parent, after.trace != root.trace, after.failed) == ("", True, False)
    assert seen.path(seen.one("chat stub-1"))[0] == "invoke_workflow next"


def test_an_agent_that_a_hook_refuses(metered: ReadSpans, server: FakeOpenAI, refused: Any) -> None:
    """An agent on its own that is refused is no part of the next run in the same thread."""
    with aforo_sdk.session("first"), pytest.raises(HookAborted):
        agent(model(server), role="refused").kickoff("hello")
    refused()
    with aforo_sdk.session("second"):
        agent(model(server), role="next").kickoff("hello")
        crew(model(server), name="last").kickoff()
    seen = metered()
    assert seen.one("invoke_agent refused")["error.type"]
    for name in ("invoke_agent next", "invoke_workflow last"):
        span = seen.one(name)
        assert (span.parent, span["aforo.session.id"]) == ("", "second")


def test_a_refused_crew_inside_a_flow(metered: ReadSpans, server: FakeOpenAI, refused: Any) -> None:
    """What runs after a refused crew in the same flow hangs under the flow, not under the crew's remains."""

    class Pipeline(Flow[dict[str, Any]]):
        @start()
        def first(self) -> str:
            try:
                crew(model(server), name="refused").kickoff()
            except HookAborted:
                refused()
            crew(model(server), name="second").kickoff()
            return "done"

        @listen(first)
        def third(self, _: str) -> None:
            crew(model(server), name="third").kickoff()

    Pipeline(suppress_flow_events=True).kickoff()
    seen = metered()
    assert len({span.trace for span in seen}) == 1
    for name in ("second", "third"):
        path = seen.path(seen.one(f"invoke_workflow {name}"))
        assert path[0] == "invoke_workflow Pipeline"
        assert "invoke_workflow refused" not in path


def test_a_run_that_is_cancelled(metered: ReadSpans) -> None:
    """A run that is given up never says so. What its model call came to is kept, the rest is written when
    metering ends.
    """
    with fake_openai([Reply(delay_s=1)]) as server:

        async def main() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(crew(model(server)).akickoff(), 0.5)

        asyncio.run(main())
        metering.close_all()
    seen = metered()
    call = seen.one("chat stub-1")
    assert seen.path(call)[0] == "invoke_workflow weather"
    assert (call["gen_ai.usage.input_tokens"] == 100) or (call["aforo.usage.quality"] == "missing")
    assert seen.one("invoke_workflow weather")["error.type"] == "_OTHER"


def test_a_guardrail_that_asks_again(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A task whose output is refused runs its agent again: both calls are on the bill."""
    verdicts = [(False, "once more"), (True, "fine")]
    worker = agent(model(server))
    Crew(agents=[worker], tasks=[task(worker, guardrail=lambda output: verdicts.pop(0))]).kickoff()
    seen = metered()
    assert len(seen.named("chat stub-1")) == len(server.served) == 2
    assert len({span.trace for span in seen}) == 1


def test_a_broken_step_in_a_crew_that_goes_on(metered: ReadSpans) -> None:
    """Tasks before the one that fails keep their spans."""
    with fake_openai([asks(("lookup", {"city": "Oslo"})), Reply(), Reply("boom", status=400)]) as server:
        worker = agent(model(server, max_retries=0), lookup, max_retry_limit=0)
        tasks: list[Task] = [task(worker), task(worker)]
        with pytest.raises(Exception, match="boom"):
            Crew(name="half", agents=[worker], tasks=tasks).kickoff()
    seen = metered()
    assert [span.failed for span in seen.named("task")] == [False, True]
    assert seen.one("invoke_workflow half").failed
    assert [call.failed for call in seen.named("chat stub-1")] == [False, False, True]
