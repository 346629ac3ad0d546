"""Agents and teams: one tree per run, and every call in it."""

import asyncio
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent, CodeExecutorAgent, SocietyOfMindAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import MagenticOneGroupChat, RoundRobinGroupChat, SelectorGroupChat
from autogen_core import SingleThreadedAgentRuntime
from autogen_core.code_executor import CodeExecutor, CodeResult

from tests.fake_openai import Reply, Usage, fake_openai
from tests.plugins.autogen.clients import Scripted, drained, openai_client, says, tokens_of
from tests.plugins.spool import ReadSpans


def agent(name: str, model: Any = None, **options: Any) -> AssistantAgent:
    """An agent that answers by script."""
    return AssistantAgent(name, model or Scripted(), **options)


def test_an_agent_alone(spans: ReadSpans) -> None:
    """An agent's run is one turn with its call inside, however it is run."""
    asyncio.run(agent("solo").run(task="go"))
    asyncio.run(drained(agent("solo", model_client_stream=True).run_stream(task="go")))
    seen = spans()
    assert [seen.path(span) for span in seen.named("chat")] == [["invoke_agent solo", "chat"]] * 2
    assert [span["aforo.step.type"] for span in seen.named("chat")] == ["FINAL_ANSWER"] * 2
    assert len(seen) == 4


def test_a_team_is_one_tree(spans: ReadSpans) -> None:
    """A team on its own runtime is one trace: workflow, agents, calls, in one numbering."""
    team = RoundRobinGroupChat([agent("a"), agent("b")], max_turns=3, name="crew")
    asyncio.run(team.run(task="go"))
    seen = spans()
    assert len({span.trace for span in seen}) == 1
    assert [seen.path(span)[:2] for span in seen.named("chat")] == [
        ["invoke_workflow crew", "invoke_agent a"],
        ["invoke_workflow crew", "invoke_agent b"],
        ["invoke_workflow crew", "invoke_agent a"],
    ]
    assert [span["aforo.step.index"] for span in seen.named("chat")] == [0, 1, 2]


def test_the_selectors_calls_are_billed(spans: ReadSpans) -> None:
    """The tokens of a selector team are those that the server counted, the selection's own included."""

    def script(request: dict[str, Any]) -> Reply:
        selects = "select" in str(request["messages"]).lower()
        return Reply("a" if selects else "words", usage=Usage(148 if selects else 60, 3, 8, 1))

    async def main(server: Any) -> None:
        async with openai_client(server) as client:
            members = [agent(name, client, description=name, model_client_stream=True) for name in "ab"]
            team = SelectorGroupChat(
                members, client, termination_condition=MaxMessageTermination(4), allow_repeated_speaker=True
            )
            await team.run(task="go")

    with fake_openai(script) as server:
        asyncio.run(main(server))
        served = server.served
    calls = [span for span in spans() if span.name == "chat stub-1"]
    assert len(calls) == len(served) == 6
    for name, field in (
        ("input_tokens", "prompt_tokens"),
        ("output_tokens", "completion_tokens"),
        ("cache_read.input_tokens", "cached_tokens"),
        ("reasoning.output_tokens", "reasoning_tokens"),
    ):
        assert sum(tokens_of(span)[name] for span in calls) == sum(getattr(call, field) for call in served)
    selections = [span for span in calls if span["gen_ai.agent.name"] is None]
    assert [tokens_of(span)["input_tokens"] for span in selections] == [148] * 3


def test_magentic_one(spans: ReadSpans) -> None:
    """The ledgers that Magentic-One's orchestrator keeps are model calls, and billed."""
    ledger = (
        '{"is_request_satisfied":{"reason":"","answer":true},"is_in_loop":{"reason":"","answer":false},'
        '"is_progress_being_made":{"reason":"","answer":true},'
        '"next_speaker":{"reason":"","answer":"worker"},'
        '"instruction_or_question":{"reason":"","answer":"x"}}'
    )
    model = Scripted(says("facts"), says("plan"), says(ledger), says("final"))
    asyncio.run(MagenticOneGroupChat([agent("worker")], model).run(task="go"))
    seen = spans()
    assert [seen.path(span)[0] for span in seen.named("chat")] == ["invoke_workflow MagenticOneGroupChat"] * 4
    assert model.turn == 4


def test_a_society(spans: ReadSpans) -> None:
    """A team inside an agent hangs under the agent, and the agent's own call beside it."""
    inner = RoundRobinGroupChat([agent("member")], max_turns=1, name="inner")
    society = SocietyOfMindAgent("society", team=inner, model_client=Scripted(says("summary", (9, 9))))
    asyncio.run(RoundRobinGroupChat([society], max_turns=1, name="outer").run(task="go"))
    seen = spans()
    assert sorted(seen.path(span) for span in seen.named("chat")) == [
        ["invoke_workflow outer", "invoke_agent society", "chat"],
        [
            "invoke_workflow outer",
            "invoke_agent society",
            "invoke_workflow inner",
            "invoke_agent member",
            "chat",
        ],
    ]
    assert len({span.trace for span in seen}) == 1


def test_a_team_in_a_team(spans: ReadSpans) -> None:
    """A team that takes part in a team is a workflow inside it."""
    inner = RoundRobinGroupChat([agent("member")], max_turns=1, name="inner")
    asyncio.run(RoundRobinGroupChat([inner, agent("last")], max_turns=2, name="outer").run(task="go"))
    seen = spans()
    assert [seen.path(span)[:-1] for span in seen.named("chat")] == [
        ["invoke_workflow outer", "invoke_workflow inner", "invoke_agent member"],
        ["invoke_workflow outer", "invoke_agent last"],
    ]


@pytest.mark.filterwarnings("ignore:No approval function")
def test_code_execution(spans: ReadSpans) -> None:
    """The calls with which an agent writes and retries code are billed like any other."""

    class Runs(CodeExecutor):
        async def execute_code_blocks(self, code_blocks: Any, cancellation_token: Any) -> CodeResult:
            return CodeResult(exit_code=0, output="4")

        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def restart(self) -> None: ...

    model = Scripted(says("```python\nprint(4)\n```"), says("it is 4"))
    coder = CodeExecutorAgent("coder", Runs(), model_client=model)
    asyncio.run(coder.run(task="go"))
    assert len(spans().named("chat")) == model.turn == 2


def test_an_abandoned_team(spans: ReadSpans) -> None:
    """A team that nobody reads on is left open by nobody: its span ends when its stream is closed."""

    async def main() -> None:
        stream = RoundRobinGroupChat([agent("a")], max_turns=3, name="crew").run_stream(task="go")
        await anext(stream)
        await stream.aclose()

    asyncio.run(main())
    assert spans().one("invoke_workflow crew")["error.type"] == "GeneratorExit"


def test_an_error_in_a_team(spans: ReadSpans) -> None:
    """An error in a model reaches the program as AutoGen passes it on, and stands on all that it ended."""
    team = RoundRobinGroupChat([agent("a", Scripted(ConnectionError("down")))], max_turns=1, name="crew")
    with pytest.raises(RuntimeError, match="down"):
        asyncio.run(team.run(task="go"))
    seen = spans()
    assert [seen.one(name)["error.type"] for name in ("chat", "invoke_agent a", "invoke_workflow crew")] == [
        "ConnectionError",
        "ConnectionError",
        "RuntimeError",
    ]


def test_runs_after_another(spans: ReadSpans) -> None:
    """Each run of a team is a trace of its own, on a shared runtime too."""

    async def main() -> None:
        runtime = SingleThreadedAgentRuntime()
        runtime.start()
        team = RoundRobinGroupChat([agent("a")], max_turns=1, runtime=runtime, name="crew")
        await team.run(task="go")
        await team.run(task="go")
        await runtime.stop()

    asyncio.run(main())
    seen = spans()
    traces = [span.trace for span in seen.named("invoke_workflow crew")]
    assert len(set(traces)) == 2
    assert [span.trace for span in seen.named("chat")] == traces
