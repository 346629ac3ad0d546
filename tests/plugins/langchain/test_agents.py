"""Agents and graphs on real LangGraph: names, steps, parallel tools, subgraphs, hand-offs, interrupts."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from aforo_langchain import AforoCallbackHandler
from aforo_langchain.mapping import is_tool_error
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from tests.plugins.langchain.models import ScriptedChat, asks, says
from tests.plugins.spool import ReadSpans, Seen


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return word.upper()


@tool
def broken(word: str) -> str:
    """Raise."""
    raise KeyError(word)


@tool
def approve(word: str) -> str:
    """Ask a human."""
    return f"{word}: {interrupt('may I?')}"


@tool
def transfer_to_billing() -> str:
    """Hand over to billing."""
    return "handed over"


def agent(
    *replies: AIMessage, tools: Sequence[Any] = (lookup,), name: str | None = "researcher", **options: Any
) -> Any:
    """Return a real `create_agent` graph around a scripted model."""
    return create_agent(ScriptedChat(replies=list(replies)), list(tools), name=name, **options)


def ask(graph: Any, **config: Any) -> Any:
    """Invoke a graph with one question and one handler."""
    question = {"messages": [HumanMessage("hello")]}
    return graph.invoke(question, {"callbacks": [AforoCallbackHandler()], **config})


def steps(seen: Sequence[Seen]) -> list[tuple[int, str]]:
    """Return (index, type) of all steps, in order."""
    return sorted(
        (span["aforo.step.index"], span["aforo.step.type"]) for span in seen if span["aforo.step.type"]
    )


def test_agent(spans: ReadSpans) -> None:
    """An agent is one invoke_agent span, its name on all within, its steps numbered, its answer marked as
    final.
    """
    ask(agent(asks(("lookup", {"word": "a"})), says("found")))
    seen = spans()
    root = seen.one("invoke_agent researcher")
    assert (root.parent, root["gen_ai.operation.name"], root["gen_ai.conversation.id"]) == (
        "",
        "invoke_agent",
        None,
    )
    assert {span["gen_ai.agent.name"] for span in seen} == {"researcher"}
    assert steps(seen) == [(0, "MODEL_CALL"), (1, "TOOL_CALL"), (2, "FINAL_ANSWER")]
    assert seen.path(seen.one("execute_tool lookup")) == [root.name, "chain tools", "execute_tool lookup"]
    assert [seen.path(call)[:2] for call in seen.named("chat stub-1")] == [[root.name, "chain model"]] * 2
    assert len({span.trace for span in seen}) == 1


def test_agent_without_a_name(spans: ReadSpans) -> None:
    """An agent without a name is an agent all the same."""
    ask(agent(says("hi"), name=None))
    seen = spans()
    assert seen.one("invoke_agent")["gen_ai.agent.name"] is None
    assert steps(seen) == [(0, "FINAL_ANSWER")]


def test_async_agent(spans: ReadSpans) -> None:
    """`ainvoke` gives the tree that `invoke` gives."""
    graph = agent(asks(("lookup", {"word": "a"})), says("found"))
    question = {"messages": [HumanMessage("hello")]}
    asyncio.run(graph.ainvoke(question, {"callbacks": [AforoCallbackHandler()]}))
    seen = spans()
    assert steps(seen) == [(0, "MODEL_CALL"), (1, "TOOL_CALL"), (2, "FINAL_ANSWER")]
    assert seen.path(seen.one("execute_tool lookup"))[0] == "invoke_agent researcher"


def test_streaming_agent(spans: ReadSpans) -> None:
    """An agent whose messages are streamed is metered like one that is not."""
    graph = agent(asks(("lookup", {"word": "a"})), says("found it"), tools=[lookup])
    config: RunnableConfig = {"callbacks": [AforoCallbackHandler()]}
    list(graph.stream({"messages": [HumanMessage("hello")]}, config, stream_mode="messages"))
    seen = spans()
    assert [call["aforo.usage.quality"] for call in seen.named("chat stub-1")] == ["reported"] * 2
    assert steps(seen)[-1][1] == "FINAL_ANSWER"


def test_parallel_tools(spans: ReadSpans) -> None:
    """Tools that the model asks for at once are calls of their own under the one agent, told apart by their
    ids.
    """
    wanted = [("lookup", {"word": word}) for word in "abc"]
    ask(agent(asks(*wanted), says("found")))
    seen = spans()
    calls = seen.named("execute_tool lookup")
    assert {call["gen_ai.tool.call.id"] for call in calls} == {"call-0", "call-1", "call-2"}
    assert {seen.path(call)[0] for call in calls} == {"invoke_agent researcher"}
    assert [index for index, _ in steps(seen)] == [0, 1, 2, 3, 4]


def test_failing_tool_in_an_agent(spans: ReadSpans) -> None:
    """A tool that raises in an agent is a failed call, and so is the agent that it ends."""
    with pytest.raises(KeyError):
        ask(agent(asks(("broken", {"word": "a"})), says("sorry"), tools=[broken]))
    seen = spans()
    assert seen.one("execute_tool broken")["error.type"] == "KeyError"
    assert seen.one("invoke_agent researcher")["error.type"] == "KeyError"


def test_tool_that_fails_by_a_command(spans: ReadSpans) -> None:
    """A tool whose command brings the message that it failed is a failed call; those of others are theirs."""

    @tool
    def gives_up(word: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[str]:
        """Fail without raising."""
        return Command(update={"messages": [ToolMessage(word, tool_call_id=tool_call_id, status="error")]})

    @tool
    def goes_on(word: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> list[Command[str]]:
        """Tell of another call's failure, and succeed."""
        before = ToolMessage("no", tool_call_id="another", status="error")
        return [Command(update={"messages": [before, ToolMessage(word, tool_call_id=tool_call_id)]})]

    ask(
        agent(
            asks(("gives_up", {"word": "a"}), ("goes_on", {"word": "b"})),
            says("done"),
            tools=[gives_up, goes_on],
        )
    )
    seen = spans()
    assert (seen.one("execute_tool gives_up")["error.type"]) == "tool_error"
    assert seen.one("execute_tool goes_on").failed is False


@pytest.mark.parametrize("shape", [dict, list, tuple, SimpleNamespace])
def test_every_shape_of_a_state_update(shape: type) -> None:
    """A message that says a call failed is found in each shape that a command's state update may have."""
    message = ToolMessage("no", tool_call_id="own", status="error")
    update = (
        shape(messages=[message]) if shape in (dict, SimpleNamespace) else shape([("messages", [message])])
    )
    assert is_tool_error(Command(update=update), "own".__eq__)
    assert is_tool_error(Command(update=[message]), "own".__eq__)
    assert not is_tool_error(Command(update=update), "another".__eq__)
    assert not is_tool_error(Command(), "own".__eq__)


def test_hand_off(spans: ReadSpans) -> None:
    """A tool named transfer_to_… is a hand-off."""
    ask(agent(asks(("transfer_to_billing", {})), says("bye"), tools=[transfer_to_billing]))
    assert steps(spans())[1] == (1, "HANDOFF")


def test_model_inside_a_tool_is_no_final_answer(spans: ReadSpans) -> None:
    """A model that a tool of the agent calls is a step, but not the agent's answer."""
    helper = ScriptedChat(model_name="small")

    @tool
    def summarise(word: str) -> str:
        """Ask a small model."""
        return str((RunnableLambda(lambda x: x) | helper).invoke(word).content)

    ask(agent(asks(("summarise", {"word": "a"})), says("found"), tools=[summarise]))
    seen = spans()
    assert seen.one("chat small")["aforo.step.type"] == "MODEL_CALL"
    assert "execute_tool summarise" in seen.path(seen.one("chat small"))
    assert [kind for _, kind in steps(seen)] == ["MODEL_CALL", "TOOL_CALL", "MODEL_CALL", "FINAL_ANSWER"]


def test_agent_inside_a_tool_of_an_agent(spans: ReadSpans) -> None:
    """An agent that is a tool of another is an agent of its own below that tool, in the same trace."""
    inner = agent(says("inner answer"), name="expert")

    @tool
    def consult(word: str) -> str:
        """Ask the expert."""
        return str(inner.invoke({"messages": [HumanMessage(word)]})["messages"][-1].content)

    ask(agent(asks(("consult", {"word": "a"})), says("outer answer"), tools=[consult]))
    seen = spans()
    expert = seen.one("invoke_agent expert")
    assert seen.path(expert)[-2:] == ["execute_tool consult", "invoke_agent expert"]
    assert [span["gen_ai.agent.name"] for span in seen.named("chat stub-1")] == [
        "researcher",
        "expert",
        "researcher",
    ]
    assert [kind for _, kind in steps(seen)] == ["MODEL_CALL", "TOOL_CALL", "FINAL_ANSWER", "FINAL_ANSWER"]


class State(TypedDict, total=False):
    """The state of the test graphs."""

    word: str
    messages: list[Any]


def one_node(name: str, node: Any, **compiled: Any) -> Any:
    """Return a graph of one node."""
    builder = StateGraph(State)
    builder.add_node(name, node)
    builder.add_edge(START, name)
    builder.add_edge(name, END)
    return builder.compile(**compiled)


def test_subgraph(spans: ReadSpans) -> None:
    """A graph that is a node of another is a level of structure, in one trace and one count of steps."""
    model = ScriptedChat()
    inner = one_node("think", lambda state: {"word": model.invoke(state["word"]).content})
    outer = one_node("delegate", inner)
    outer.invoke({"word": "a"}, {"callbacks": [AforoCallbackHandler()], "run_name": "outer"})
    seen = spans()
    call = seen.one("chat stub-1")
    assert seen.path(call)[0] == "invoke_workflow outer"
    assert seen.path(call)[-2:] == ["chain think", "chat stub-1"]
    assert len([span for span in seen if span["gen_ai.operation.name"] == "invoke_workflow"]) == 1


def test_agent_as_a_node(spans: ReadSpans) -> None:
    """An agent that is a node of a workflow is an agent inside that workflow."""
    flow = one_node("research", agent(says("found")))
    flow.invoke(
        {"messages": [HumanMessage("hello")]}, {"callbacks": [AforoCallbackHandler()], "run_name": "flow"}
    )
    seen = spans()
    assert seen.path(seen.one("invoke_agent researcher"))[0] == "invoke_workflow flow"
    assert seen.one("invoke_workflow flow")["gen_ai.agent.name"] is None
    assert seen.one("chat stub-1")["aforo.step.type"] == "FINAL_ANSWER"


def test_interrupt_and_resume(spans: ReadSpans) -> None:
    """A pause is no error. The node runs again on resume, and what it called before is called twice."""
    model = ScriptedChat()

    def node(state: State) -> State:
        model.invoke(state["word"])
        return {"word": interrupt("go on?")}

    graph = one_node("ask", node, checkpointer=InMemorySaver())
    config: Any = {"callbacks": [AforoCallbackHandler()], "configurable": {"thread_id": "t-1"}}
    graph.invoke({"word": "a"}, config)
    assert len(spans().named("chat stub-1")) == 1
    graph.invoke(Command(resume="yes"), config)
    seen = spans()
    assert len(seen.named("chat stub-1")) == 2
    assert [span.failed for span in seen] == [False] * len(seen)
    assert {span["aforo.session.id"] for span in seen} == {"t-1"}
    assert len({span.trace for span in seen}) == 2


def test_interrupted_tool_counts_once(spans: ReadSpans) -> None:
    """A tool that pauses to ask a human is one tool call: the one that is made on resume."""
    graph = agent(
        asks(("approve", {"word": "pay"})), says("paid"), tools=[approve], checkpointer=InMemorySaver()
    )
    config: Any = {"callbacks": [AforoCallbackHandler()], "configurable": {"thread_id": "t-1"}}
    graph.invoke({"messages": [HumanMessage("hello")]}, config)
    paused = spans().one("paused execute_tool approve")
    assert (paused["gen_ai.operation.name"], paused["aforo.step.type"], paused.failed) == (None, None, False)
    graph.invoke(Command(resume="yes"), config)
    seen = spans()
    assert seen.one("execute_tool approve")["gen_ai.tool.call.id"] == "call-0"
    assert [span["error.type"] for span in seen] == [None] * len(seen)


def test_command_to_the_parent_is_no_error(spans: ReadSpans) -> None:
    """A node that steers its parent graph by a command has not failed."""
    inner = one_node("leave", lambda state: Command(graph=Command.PARENT, goto="after", update={"word": "b"}))
    builder = StateGraph(State)
    builder.add_node("inner", inner, destinations=("after",))
    builder.add_node("after", lambda state: {"word": "c"})
    builder.add_edge(START, "inner")
    graph = builder.compile()
    assert graph.invoke({"word": "a"}, {"callbacks": [AforoCallbackHandler()]})["word"] == "c"
    assert [span["error.type"] for span in spans()] == [None] * len(spans())
