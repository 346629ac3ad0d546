"""Who pays: the arguments of `instrument()`, the context of the run, the defaults of the process."""

import asyncio
from typing import Any

import aforo_crewai
import aforo_sdk
from crewai.flow.flow import Flow, start
from crewai.tools import tool
from opentelemetry.sdk.trace import TracerProvider

from tests.fake_openai import FakeOpenAI, Reply, fake_openai
from tests.plugins.crewai.crews import agent, asks, crew, model
from tests.plugins.spool import ReadSpans


def test_arguments_win_over_the_context(spans: ReadSpans, server: FakeOpenAI) -> None:
    """What `instrument()` is given wins, what it is not given comes from the session around the run, then
    from the process; and all of a run has the same.
    """
    aforo_crewai.instrument("umbrella", team_id="t-1", product_type="AI_AGENT")
    with aforo_sdk.session("s-1", customer_id="globex", agent_id="a-2"):
        crew(model(server)).kickoff()
    seen = [span for span in spans() if span.name != "session_end"]
    assert len(seen) == 4
    for key, value in {
        "customer.id": "umbrella",
        "team.id": "t-1",
        "agent.id": "a-2",
        "session.id": "s-1",
        "product.type": "AI_AGENT",
    }.items():
        assert {span[f"aforo.{key}"] for span in seen} == {value}


def test_the_defaults_of_the_process(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Without argument or session the customer of the process pays, and no session is invented."""
    crew(model(server)).kickoff()
    assert {(span["aforo.customer.id"], span["aforo.session.id"]) for span in metered()} == {("acme", None)}


def test_a_session_holds_all_of_a_run(metered: ReadSpans, server: FakeOpenAI) -> None:
    """When a session is closed right after a run, every span of the run has been written before."""
    llm = model(server)
    for number in range(5):
        with aforo_sdk.session(f"s-{number}", close=True):
            llm.call("hello")
            agent(llm).kickoff("hello")
    names = [span.name for span in metered()]
    assert names == ["chat stub-1", "chat stub-1", "invoke_agent researcher", "session_end"] * 5


def test_sessions_at_once(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Two customers served at once by one model in one loop are billed each for its own run."""
    llm = model(server)

    async def serve(customer: str) -> None:
        async with aforo_sdk.session(f"s-{customer}", customer_id=customer):
            await crew(llm, name=customer).akickoff()

    async def main() -> None:
        await asyncio.gather(serve("acme"), serve("globex"))

    asyncio.run(main())
    seen = [span for span in metered() if span.name != "session_end"]
    for customer in ("acme", "globex"):
        root = seen[[span.name for span in seen].index(f"invoke_workflow {customer}")]
        paid = {
            (span["aforo.customer.id"], span["aforo.session.id"]) for span in seen if span.trace == root.trace
        }
        assert paid == {(customer, f"s-{customer}")}


def test_the_payer_is_settled_at_the_root(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A session that is opened inside a run does not tear the run apart."""

    class Pipeline(Flow[dict[str, Any]]):
        @start()
        def work(self) -> None:
            with aforo_sdk.session("inner"):
                crew(model(server)).kickoff()

    with aforo_sdk.session("outer"):
        Pipeline(suppress_flow_events=True).kickoff()
    seen = [span for span in metered() if span.name != "session_end"]
    assert {span["aforo.session.id"] for span in seen} == {"outer"}
    assert len({span.trace for span in seen}) == 1


def test_runs_join_the_call_around_them(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A run inside a decorated function, or inside a span of the application, hangs under it."""

    @aforo_sdk.step(name="outer")
    def work() -> None:
        crew(model(server), name="first").kickoff()

    work()
    with TracerProvider().get_tracer("app").start_as_current_span("request") as request:
        crew(model(server), name="second").kickoff()
    seen = metered()
    (outer,) = [span for span in seen if "outer" in span.name]
    first, second = seen.one("invoke_workflow first"), seen.one("invoke_workflow second")
    assert (first.parent, first.trace) == (outer.id, outer.trace)
    assert second.parent == f"{request.get_span_context().span_id:016x}"
    assert second.trace == f"{request.get_span_context().trace_id:032x}"


@aforo_sdk.tool(name="inner")
def inner() -> None:
    """Meter a call of our own, and a fact."""
    aforo_sdk.record_usage("pages", 1)


@tool("deep")
def deep(city: str) -> str:
    """Look a city up."""
    inner()
    with aforo_sdk.session("own", customer_id="umbrella"):
        inner()
    return city


def test_what_runs_inside_of_a_tool_is_for_its_payer(spans: ReadSpans) -> None:
    """What code inside of a tool meters itself hangs under that tool and is for its payer, unless it says
    better; when the run is over, nothing is left of it.
    """
    aforo_crewai.instrument("globex", "s-7")
    script = [asks(("deep", {"city": "Oslo"})), Reply()]
    with fake_openai(script) as server, aforo_sdk.session("outer", customer_id="acme"):
        crew(model(server), deep).kickoff()
        inner()
    seen = spans()
    called = seen.one("execute_tool deep")
    first, second, after = seen.named("execute_tool inner")
    assert [first.parent, second.parent, after.parent] == [called.id, called.id, ""]
    for name in ("execute_tool inner", "record_usage"):
        paid = [(span["aforo.customer.id"], span["aforo.session.id"]) for span in seen.named(name)]
        assert paid == [("globex", "s-7"), ("umbrella", "own"), ("acme", "outer")]
