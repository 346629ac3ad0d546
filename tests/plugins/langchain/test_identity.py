"""Who pays: the handler's arguments, the context, the framework's thread."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aforo_sdk
import pytest
from aforo_langchain import AforoCallbackHandler, instrument
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from tests.plugins.langchain.models import ScriptedChat
from tests.plugins.spool import ReadSpans


class State(TypedDict, total=False):
    """The state of a test graph."""

    word: str


def graph(model: ScriptedChat, **compiled: Any) -> Any:
    """Return a graph of one node that calls the model."""

    def node(state: State) -> State:
        model.invoke(state["word"])
        return state

    builder = StateGraph(State)
    builder.add_node("think", node)
    builder.add_edge(START, "think")
    builder.add_edge("think", END)
    return builder.compile(**compiled)


def test_arguments_win_over_the_context(spans: ReadSpans) -> None:
    """What the handler is given wins, and what it is not given comes from the session around the call."""
    handler = AforoCallbackHandler(
        "umbrella", agent_id="a-1", team_id="t-1", app_id="p-1", product_type="AI_AGENT"
    )
    with aforo_sdk.session("s-1", customer_id="globex", agent_id="a-2"):
        ScriptedChat().invoke("a", {"callbacks": [handler]})
    span = spans().one("chat stub-1")
    assert {
        key: span[key] for key in span.attributes if key.startswith("aforo.") and key.endswith(("id", "type"))
    } == {
        "aforo.customer.id": "umbrella",
        "aforo.team.id": "t-1",
        "aforo.agent.id": "a-1",
        "aforo.app.id": "p-1",
        "aforo.session.id": "s-1",
        "aforo.product.type": "AI_AGENT",
        "aforo.step.type": "MODEL_CALL",
    }


def test_explicit_session(spans: ReadSpans) -> None:
    """A session given to the handler wins over the context's and over the graph's thread."""
    flow = graph(ScriptedChat(), checkpointer=InMemorySaver())
    with aforo_sdk.session("s-context"):
        flow.invoke(
            {"word": "a"},
            {
                "callbacks": [AforoCallbackHandler(session_id="s-own")],
                "configurable": {"thread_id": "thread-9"},
            },
        )
    seen = [span for span in spans() if span.name != "session_end"]
    assert {span["aforo.session.id"] for span in seen} == {"s-own"}
    assert {span["gen_ai.conversation.id"] for span in seen} == {"thread-9"}


def test_thread_is_the_session_when_none_is_given(spans: ReadSpans) -> None:
    """LangGraph's thread id is the conversation, and the session too if nobody names one."""
    flow = graph(ScriptedChat(), checkpointer=InMemorySaver())
    flow.invoke(
        {"word": "a"}, {"callbacks": [AforoCallbackHandler()], "configurable": {"thread_id": "thread-9"}}
    )
    seen = spans()
    assert {span.name for span in seen} == {"invoke_workflow LangGraph", "chain think", "chat stub-1"}
    for key in ("aforo.session.id", "gen_ai.conversation.id"):
        assert {span[key] for span in seen} == {"thread-9"}


@pytest.mark.parametrize("key", ["session_id", "conversation_id"])
def test_session_in_the_metadata(spans: ReadSpans, key: str) -> None:
    """A session or conversation id in the metadata is the session, but no conversation of the framework."""
    ScriptedChat().invoke("a", {"callbacks": [AforoCallbackHandler()], "metadata": {key: 17}})
    span = spans().one("chat stub-1")
    assert (span["aforo.session.id"], span["gen_ai.conversation.id"]) == ("17", None)


def test_a_call_inside_brings_its_session(spans: ReadSpans) -> None:
    """A call that names a session inside a run without one is billed to it, its siblings are not."""
    model = ScriptedChat()

    def work(word: str, config: RunnableConfig) -> None:
        model.invoke(word, {**config, "metadata": {"session_id": "s-5"}})
        model.invoke(word, config)

    RunnableLambda(work).invoke("a", {"callbacks": [AforoCallbackHandler()]})
    assert [span["aforo.session.id"] for span in spans()] == ["s-5", None, None]


def test_no_session_is_invented(spans: ReadSpans) -> None:
    """Where nobody names a session or a conversation, none is written."""
    ScriptedChat().invoke("a", {"callbacks": [AforoCallbackHandler()]})
    span = spans().one("chat stub-1")
    assert (span["aforo.session.id"], span["gen_ai.conversation.id"]) == (None, None)


def test_a_graph_inside_brings_its_thread(spans: ReadSpans) -> None:
    """A graph called inside a run without a session brings its thread to itself and all below it."""
    inner = graph(ScriptedChat(), checkpointer=InMemorySaver())

    def work(word: str, config: RunnableConfig) -> str:
        return str(inner.invoke({"word": word}, {**config, "configurable": {"thread_id": "thread-3"}}))

    RunnableLambda(work).invoke("a", {"callbacks": [AforoCallbackHandler()]})
    seen = spans()
    assert seen.one("invoke_workflow work")["aforo.session.id"] is None
    assert seen.one("chat stub-1")["aforo.session.id"] == "thread-3"


def test_threads_below_a_run_keep_its_payer(spans: ReadSpans) -> None:
    """Children take the identity of their parent run, whatever thread they run in and whatever context it
    has.
    """
    fan = RunnableParallel({str(number): ScriptedChat() for number in range(4)})
    with aforo_sdk.session("s-1", customer_id="globex"):
        fan.invoke("a", {"callbacks": [AforoCallbackHandler()]})
        flow = RunnableLambda(in_a_bare_thread)
        flow.invoke("a", {"callbacks": [AforoCallbackHandler()]})
    seen = [span for span in spans() if span.name != "session_end"]
    assert len(seen) == 7
    assert {(span["aforo.customer.id"], span["aforo.session.id"]) for span in seen} == {("globex", "s-1")}


def in_a_bare_thread(word: str, config: RunnableConfig) -> str:
    """Call a model in a thread that inherits nothing but the config."""
    thread = threading.Thread(target=lambda: ScriptedChat().invoke(word, config))
    thread.start()
    thread.join()
    return word


def test_concurrent_sessions(spans: ReadSpans) -> None:
    """Two customers served at once by one handler in one loop are billed each for its own calls."""
    chain = RunnableLambda(lambda x: x) | ScriptedChat(delay_s=0.01)
    shared = AforoCallbackHandler()

    async def serve(customer: str) -> None:
        async with aforo_sdk.session(f"s-{customer}", customer_id=customer):
            for _ in range(5):
                await chain.ainvoke("a", {"callbacks": [shared]})

    async def main() -> None:
        await asyncio.gather(serve("acme"), serve("globex"))

    asyncio.run(main())
    calls = spans().named("chat stub-1")
    pairs = [(call["aforo.customer.id"], call["aforo.session.id"]) for call in calls]
    assert sorted(pairs) == [("acme", "s-acme")] * 5 + [("globex", "s-globex")] * 5


def test_plain_threads_with_instrument(spans: ReadSpans) -> None:
    """Runs in plain threads and thread pools are metered under `instrument()`, with its identity."""
    instrument(customer_id="globex", session_id="s-9")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ScriptedChat().invoke, ["a", "b"]))
    assert [(span["aforo.customer.id"], span["aforo.session.id"]) for span in spans()] == [
        ("globex", "s-9")
    ] * 2


def test_runs_join_the_call_around_them(spans: ReadSpans) -> None:
    """A run inside a decorated function hangs under that function's span."""

    @aforo_sdk.step(name="outer")
    def work() -> None:
        ScriptedChat().invoke("a", {"callbacks": [AforoCallbackHandler()]})

    work()
    seen = spans()
    (outer,) = [span for span in seen if "outer" in span.name]
    assert (seen.one("chat stub-1").parent, seen.one("chat stub-1").trace) == (outer.id, outer.trace)


@aforo_sdk.tool(name="inner")
def inner() -> None:
    """Meter a call of our own, and a fact."""
    aforo_sdk.record_usage("pages", 1)


@tool
def lookup(city: str) -> str:
    """Look a city up."""
    inner()
    with aforo_sdk.session("own", customer_id="umbrella"):
        inner()
    return city


@tool
async def alookup(city: str) -> str:
    """Look a city up."""
    return str(lookup.func(city))  # type: ignore[misc]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_runs_inside_of_a_tool_is_for_its_payer(spans: ReadSpans, asynchronous: bool) -> None:
    """What code inside of a run meters itself hangs under that run and is for its payer, unless it says better;
    when the run is over, nothing is left of it.
    """
    config: RunnableConfig = {"callbacks": [AforoCallbackHandler("globex", "s-7")]}
    with aforo_sdk.session("outer", customer_id="acme"):
        if asynchronous:
            asyncio.run(alookup.ainvoke({"city": "Oslo"}, config))
        else:
            lookup.invoke({"city": "Oslo"}, config)
        inner()
    seen = spans()
    (called,) = [span for span in seen if span.name.endswith("lookup")]
    first, second, after = seen.named("execute_tool inner")
    assert [first.parent, second.parent, after.parent] == [called.id, called.id, ""]
    for name in ("execute_tool inner", "record_usage"):
        paid = [(span["aforo.customer.id"], span["aforo.session.id"]) for span in seen.named(name)]
        assert paid == [("globex", "s-7"), ("umbrella", "own"), ("acme", "outer")]
