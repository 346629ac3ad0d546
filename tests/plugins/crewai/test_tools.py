"""Tool calls: what counts as one, as executed, as failed, and under which name."""

import sys
from pathlib import Path
from typing import Any

import pytest
from aforo_sdk import conventions as c
from crewai import Crew
from crewai.hooks import HookAborted, InterceptionPoint, register_hook, unregister_hook
from crewai.mcp import MCPServerStdio
from crewai.tools import BaseTool, tool
from crewai.tools.tool_failure import ToolFailure
from pydantic import Field

from tests.fake_openai import Reply, fake_openai
from tests.plugins.crewai.crews import LAST_WORD, Silent, agent, asks, broken, crew, lookup, model, task
from tests.plugins.spool import ReadSpans

SERVER = """
from mcp.server.fastmcp import FastMCP

server = FastMCP("weather")

@server.tool()
def forecast(city: str) -> str:
    if city == "Atlantis":
        raise ValueError("no such place")
    return "rain in " + city

server.run("stdio")
"""
ASKS_FOR_LOOKUP = 'Thought: look\nAction: lookup\nAction Input: {"city": "Oslo"}'


def test_the_same_tool_twice_at_once(metered: ReadSpans) -> None:
    """Parallel calls of one tool bear the ids that the model gave them, by their arguments."""
    script = [asks(("lookup", {"city": "Oslo"}), ("lookup", {"city": "Rome"})), Reply()]
    with fake_openai(script) as server:
        crew(model(server), lookup).kickoff()
    calls = metered().named("execute_tool lookup")
    assert sorted(call["gen_ai.tool.call.id"] for call in calls) == sorted(server.served[0].tool_call_ids)
    assert len({call["aforo.step.index"] for call in calls}) == 2


def test_a_tool_that_says_it_failed(metered: ReadSpans) -> None:
    """A tool that returns a failure instead of raising is a failed call."""

    @tool("apologises")
    def apologises(city: str) -> Any:
        """Apologise."""
        return ToolFailure(message="sorry")

    with fake_openai([asks(("apologises", {"city": "Oslo"})), Reply()]) as server:
        crew(model(server), apologises).kickoff()
    assert metered().one("execute_tool apologises")["error.type"] == "tool_error"


def test_a_tool_that_does_not_exist(metered: ReadSpans) -> None:
    """A call of a tool that nobody has is a failed call."""
    with fake_openai([asks(("imagined", {"city": "Oslo"})), Reply()]) as server:
        crew(model(server), lookup).kickoff()
    assert metered().one("execute_tool imagined").failed


@pytest.mark.parametrize("refuse", ["raise", "return"])
def test_a_tool_that_a_hook_refuses(metered: ReadSpans, refuse: str) -> None:
    """A tool call that is blocked is none that succeeded, though CrewAI says it finished."""
    called: list[str] = []

    @tool("deploy")
    def deploy(city: str) -> str:
        """Deploy."""
        called.append(city)
        return city

    def hook(context: Any) -> bool:
        if refuse == "raise":
            raise HookAborted("no")
        return False

    register_hook(InterceptionPoint.PRE_TOOL_CALL, hook)
    try:
        with fake_openai([asks(("deploy", {"city": "Oslo"})), Reply()]) as server:
            crew(model(server), deploy).kickoff()
    finally:
        unregister_hook(InterceptionPoint.PRE_TOOL_CALL, hook)
    assert metered().one("execute_tool deploy")["error.type"] == "crewai.hooks.dispatch.HookAborted"
    assert called == []


class Counted(BaseTool):
    """A tool that knows how often it ran."""

    name: str = "counted"
    description: str = "Count."
    runs: list[str] = Field(default_factory=list)

    def _run(self, city: str) -> str:
        self.runs.append(city)
        return f"rain in {city}"


@pytest.mark.parametrize("protocol", ["native", "text"])
def test_cached_results(metered: ReadSpans, protocol: str) -> None:
    """What comes out of CrewAI's cache was not executed: it is structure, and executions are what counts."""
    counted = Counted()
    if protocol == "native":
        script = [asks(("counted", {"city": "Oslo"})), asks(("counted", {"city": "Oslo"})), Reply()]
        with fake_openai(script) as server:
            crew(model(server), counted, cache=True).kickoff()
    else:
        asked = 'Thought: x\nAction: counted\nAction Input: {"city": "Oslo"}'
        other = 'Thought: x\nAction: counted\nAction Input: {"city": "Rome"}'
        crew(Silent(model="mine", answers=[asked, other, asked, LAST_WORD]), counted, cache=True).kickoff()
    assert len(metered().named("execute_tool counted")) == len(counted.runs)


def test_a_tool_by_the_text_protocol(metered: ReadSpans) -> None:
    """A tool that is asked for in text bills under the same name, with the model calls around it."""
    crew(Silent(model="mine", answers=[ASKS_FOR_LOOKUP]), lookup).kickoff()
    seen = metered()
    steps = sorted((span for span in seen if span["aforo.step.type"]), key=lambda s: s["aforo.step.index"])
    assert [(step.name, step["aforo.step.type"]) for step in steps] == [
        ("chat mine", "MODEL_CALL"),
        ("execute_tool lookup", "TOOL_CALL"),
        ("chat mine", "FINAL_ANSWER"),
    ]


def test_retries_by_the_text_protocol(metered: ReadSpans) -> None:
    """Every attempt at a tool that raises is a failed call of its own."""
    asked = 'Thought: x\nAction: broken\nAction Input: {"city": "Oslo"}'
    crew(Silent(model="mine", answers=[asked]), broken).kickoff()
    attempts = metered().named("execute_tool broken")
    assert len(attempts) >= 1
    assert {attempt["error.type"] for attempt in attempts} == {"KeyError"}


def test_tools_of_an_mcp_server(metered: ReadSpans, tmp_path: Path) -> None:
    """A tool of an MCP server is one call, under the name the server gave it, failed if the server says so."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    place = MCPServerStdio(command=sys.executable, args=[str(script)])
    names: list[str] = []

    def reply(request: dict[str, Any]) -> Reply:
        names[:] = [told["function"]["name"] for told in request.get("tools", [])]
        answered = sum(message["role"] == "tool" for message in request["messages"])
        cities = ["Oslo", "Atlantis"]
        return asks((names[0], {"city": cities[answered]})) if answered < 2 else Reply()

    with fake_openai(reply) as server:
        worker = agent(model(server), mcps=[place])
        Crew(agents=[worker], tasks=[task(worker)]).kickoff()
    seen = metered()
    assert names != ["forecast"], "CrewAI puts the server's name in front"
    well, ill = seen.named("execute_tool forecast")
    assert (well["gen_ai.tool.name"], well.failed, ill.failed) == ("forecast", False, True)
    assert len([span for span in seen if span["gen_ai.operation.name"] == c.EXECUTE_TOOL]) == 2
    assert [call["gen_ai.tool.call.id"] for call in (well, ill)] == [
        call.tool_call_ids[0] for call in server.served[:2]
    ]
