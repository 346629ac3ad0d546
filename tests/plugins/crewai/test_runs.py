"""Every way to run something in CrewAI, and the tree it leaves."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from crewai import Crew
from crewai.flow.flow import Flow, listen, start

from tests.fake_openai import FakeOpenAI, Reply, Usage, fake_openai
from tests.plugins.crewai.crews import agent, asks, broken, crew, lookup, model, task
from tests.plugins.spool import ReadSpans, Spans

INPUT, OUTPUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"


def tokens(seen: Spans) -> tuple[int, int]:
    """The tokens of all spans, (input, output)."""
    return sum(span[INPUT] or 0 for span in seen), sum(span[OUTPUT] or 0 for span in seen)


def served(server: FakeOpenAI) -> tuple[int, int]:
    """The tokens that the server spent, (input, output)."""
    return (
        sum(call.prompt_tokens for call in server.served),
        sum(call.completion_tokens for call in server.served),
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_crew(metered: ReadSpans, stream: bool) -> None:
    """A crew is a workflow of tasks of agents, whose model and tool calls are numbered leaves with all that
    the provider told.
    """
    script = [
        asks(("lookup", {"city": "Oslo"}), ("broken", {"city": "Rome"})),
        Reply(usage=Usage(200, 30, 50, 7)),
    ]
    with fake_openai(script) as server:
        crew(model(server, stream=stream), lookup, broken).kickoff()
    seen = metered()
    assert sorted(span.name for span in seen) == [
        "chat stub-1",
        "chat stub-1",
        "execute_tool broken",
        "execute_tool lookup",
        "invoke_agent researcher",
        "invoke_workflow weather",
        "task",
    ]
    first, last = seen.named("chat stub-1")
    assert seen.path(last) == ["invoke_workflow weather", "task", "invoke_agent researcher", "chat stub-1"]
    assert {span.parent for span in seen if span["aforo.step.type"]} == {
        seen.one("invoke_agent researcher").id
    }
    told = {key.rpartition("usage.")[2]: last[key] for key in last.attributes if "_tokens" in key}
    assert told == {
        "input_tokens": 200,
        "output_tokens": 30,
        "cache_read.input_tokens": 50,
        "reasoning.output_tokens": 7,
    }
    assert [call["gen_ai.response.id"] for call in (first, last)] == [
        call.response_id for call in server.served
    ]
    assert (last["gen_ai.provider.name"], last["aforo.usage.quality"]) == ("openai", "reported")
    assert first["aforo.step.type"], last["aforo.step.type"] == ("MODEL_CALL", "FINAL_ANSWER")
    assert (first["aforo.step.index"], last["aforo.step.index"]) == (0, 3)
    tools = {span["gen_ai.tool.name"]: span for span in seen if span["gen_ai.tool.name"]}
    assert {tool["aforo.step.index"] for tool in tools.values()} == {1, 2}
    asked = server.served[0].tool_call_ids
    assert (
        tools["lookup"]["gen_ai.tool.call.id"],
        tools["broken"]["gen_ai.tool.call.id"],
    ) == asked
    assert (tools["broken"]["error.type"], tools["lookup"].failed) == ("KeyError", False)
    assert {span["gen_ai.agent.name"] for span in seen if "task" not in seen.path(span)[-1:]} == {
        "researcher",
        None,
    }


def test_times(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Every span lies within its parent."""
    crew(model(server)).kickoff()
    seen = metered()
    by_id = {span.id: span for span in seen}
    inner = [(span, by_id[span.parent]) for span in seen if span.parent]
    assert len(inner) == 3
    assert all(out.start_ns <= span.start_ns <= span.end_ns <= out.end_ns for span, out in inner)


def test_prompts_stay_out(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Neither a prompt nor an answer is on any span."""
    crew(model(server)).kickoff()
    assert not [span for span in metered() if "secret" in repr(span) or "done" in repr(span)]


def test_named_tasks(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A task that has a name of its own bears it."""
    worker = agent(model(server))
    Crew(agents=[worker], tasks=[task(worker, name="forecast")]).kickoff()
    assert {"task forecast", "invoke_workflow crew"} <= {span.name for span in metered()}


@pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "akickoff"])
def test_an_agent_on_its_own(metered: ReadSpans, way: str) -> None:
    """An agent that is kicked off without a crew is the root of its tree."""
    with fake_openai([asks(("lookup", {"city": "Oslo"})), Reply()]) as server:
        worker = agent(model(server), lookup)
        if way == "kickoff":
            worker.kickoff("hello")
        else:
            asyncio.run(getattr(worker, way)("hello"))
    seen = metered()
    assert seen.path(seen.one("execute_tool lookup")) == ["invoke_agent researcher", "execute_tool lookup"]
    assert len(seen) == 4
    assert tokens(seen) == served(server)


@pytest.mark.parametrize("way", ["kickoff_async", "akickoff"])
def test_crews_in_an_event_loop(metered: ReadSpans, server: FakeOpenAI, way: str) -> None:
    """Two crews at once in one event loop are two trees."""

    async def main() -> None:
        await asyncio.gather(*[getattr(crew(model(server), name=name), way)() for name in ("one", "two")])

    asyncio.run(main())
    seen = metered()
    assert len({span.trace for span in seen}) == 2
    for name in ("one", "two"):
        root = seen.one(f"invoke_workflow {name}")
        assert len([span for span in seen if span.trace == root.trace]) == 4
    assert tokens(seen) == served(server) == (200, 40)


def test_crews_in_threads(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Crews at once in threads, all with one model, are trees of their own with nothing counted twice."""
    shared = model(server)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: crew(shared, name=f"c{number}").kickoff(), range(6)))
    seen = metered()
    assert len({span.trace for span in seen}) == 6
    assert {span["aforo.step.index"] for span in seen.named("chat stub-1")} == {0}
    assert tokens(seen) == served(server) == (600, 120)


def test_a_shared_model(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Agents that share a model, and a second kickoff of the same crew, are billed what the server served,
    where CrewAI's own totals have more.
    """
    shared = model(server)
    workers = [agent(shared, role=role) for role in ("writer", "reader")]
    team = Crew(agents=workers, tasks=[task(worker) for worker in workers])
    team.kickoff()
    team.kickoff()
    seen = metered()
    assert tokens(seen) == served(server) == (400, 80)
    assert len({span.trace for span in seen}) == 2
    assert sorted(span["aforo.step.index"] for span in seen.named("chat stub-1")) == [0, 0, 1, 1]


def test_tasks_that_run_beside_others(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Tasks with `async_execution` stay in the tree of their crew, though they run in threads."""
    workers = [agent(model(server), role=f"r{number}") for number in range(3)]
    tasks = [task(worker, async_execution=number < 2) for number, worker in enumerate(workers)]
    Crew(name="wide", agents=workers, tasks=tasks).kickoff()
    seen = metered()
    paths = [seen.path(call)[:2] for call in seen.named("chat stub-1")]
    assert paths == [["invoke_workflow wide", "task"]] * 3
    assert sorted(call["aforo.step.index"] for call in seen.named("chat stub-1")) == [0, 1, 2]


def test_a_flow_around_crews(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A flow is the root of the crews its methods run, one after the other or side by side."""

    class Pipeline(Flow[Any]):
        @start()
        async def gather(self) -> Any:
            return await crew(model(server), name="first").akickoff()

        @start()
        def fetch(self) -> Any:
            return agent(model(server)).kickoff("hello")

        @listen(gather)
        def publish(self, _: Any) -> Any:
            return crew(model(server), name="second").kickoff()

    asyncio.run(Pipeline(suppress_flow_events=True).kickoff_async())
    seen = metered()
    assert len({span.trace for span in seen}) == 1
    roots = [span for span in seen if not span.parent]
    assert [root.name for root in roots] == ["invoke_workflow Pipeline"]
    assert tokens(seen) == served(server) == (300, 60)
    assert sorted(call["aforo.step.index"] for call in seen.named("chat stub-1")) == [0, 1, 2]


def test_a_model_called_directly(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A model called by hand is a tree of one span, and no agent's final answer."""
    model(server).call("hello")
    (span,) = metered()
    assert (span.name, span[INPUT], span["aforo.step.type"]) == ("chat stub-1", 100, "MODEL_CALL")


def test_delegation(metered: ReadSpans) -> None:
    """An agent that delegates hands over: the tool call is a hand-off around the other agent."""
    told = {"task": "look", "context": "none", "coworker": "helper"}
    with fake_openai([asks(("delegate_work_to_coworker", told)), Reply(), Reply()]) as server:
        boss = agent(model(server), role="boss", allow_delegation=True)
        helper = agent(model(server), role="helper")
        Crew(name="pair", agents=[boss, helper], tasks=[task(boss)]).kickoff()
    seen = metered()
    handover = seen.one("execute_tool delegate_work_to_coworker")
    assert handover["aforo.step.type"] == "HANDOFF"
    (inner,) = [call for call in seen.named("chat stub-1") if call["gen_ai.agent.name"] == "helper"]
    assert "execute_tool delegate_work_to_coworker" in seen.path(inner)
    assert tokens(seen) == served(server) == (300, 60)


def test_a_run_in_a_thread_of_the_users(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A bare thread, which inherits no context, is metered too."""
    thread = threading.Thread(target=crew(model(server)).kickoff)
    thread.start()
    thread.join()
    assert tokens(metered()) == (100, 20)
