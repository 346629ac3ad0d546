"""CrewAI: a crew of one agent with one task, which calls its model, a tool, and its model again.

The model is CrewAI's own OpenAI client on an API that answers at once. OpenLLMetry and AgentOps wrap `LLM.call`,
which that client does not use: they write no span for a model call (see the column `spans`).
"""

import os
import tempfile
import uuid
from contextlib import ExitStack
from functools import cache
from typing import Any

from plugin_variants import (
    FOUND,
    MODEL,
    QUESTION,
    RULES,
    TOOL,
    Measured,
    Subject,
    Variant,
    chat_completion,
    instrumented,
    is_answered,
    nothing,
    our_spool,
    tracing,
)

CALLS = 3
SILENCE = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_TESTING": "true",
}


class Raw:
    """A response as `with_raw_response` gives it."""

    http_response = None

    def __init__(self, is_final: bool) -> None:
        self.completion = chat_completion(is_final)
        self.text: str = self.completion.model_dump_json()

    def parse(self) -> Any:
        """Return the completion."""
        return self.completion


def plain() -> Variant:
    """The crew as it is."""
    os.environ.update(SILENCE)
    os.environ["CREWAI_STORAGE_DIR"] = os.environ["HOME"] = tempfile.mkdtemp(prefix="aforo-bench-")
    from crewai import LLM, Agent, Crew, Task
    from crewai.events import crewai_event_bus
    from crewai.tools import tool
    from crewai.utilities.task_output_storage_handler import TaskOutputStorageHandler
    from openai.resources.chat.completions import Completions

    answers = {is_final: Raw(is_final) for is_final in (False, True)}
    Completions.create = lambda self, **asked: answers[is_answered(asked["messages"])]  # type: ignore[assignment,method-assign]

    for name in ("reset", "update"):  # a database on disk that only replays need
        setattr(TaskOutputStorageHandler, name, lambda *args, **kwargs: None)

    @tool(TOOL)
    def lookup(customer: str, month: str) -> str:
        """Look usage up."""
        return FOUND

    llm = LLM(model=f"openai/{MODEL}", base_url="http://127.0.0.1:9", api_key="none")
    agent = Agent(role="assistant", goal="bill", backstory=RULES, llm=llm, tools=[lookup], cache=False)
    task = Task(description=QUESTION, expected_output="A sum.", agent=agent)
    crew = Crew(agents=[agent], tasks=[task], cache=False)

    def play(count: int) -> None:
        for _ in range(count):
            crew.kickoff()

    return Variant(play, settle=crewai_event_bus.flush)


def ours() -> Measured:
    """Our plugin."""
    run = plain()
    import aforo_crewai

    span_count = our_spool()
    return Measured(
        run, run._replace(enter=aforo_crewai.instrument, leave=aforo_crewai.uninstrument), span_count
    )


def openllmetry() -> Measured:
    """OpenLLMetry's instrumentation with its defaults."""
    run = plain()
    from opentelemetry.instrumentation.crewai import CrewAIInstrumentor

    return instrumented(run, CrewAIInstrumentor())


def openinference() -> Measured:
    """OpenInference's instrumentation as a listener at the event bus."""
    run = plain()
    from openinference.instrumentation.crewai import CrewAIInstrumentor

    return instrumented(run, CrewAIInstrumentor(), use_event_listener=True)


def openinference_wrappers() -> Measured:
    """OpenInference's instrumentation with its defaults."""
    run = plain()
    from openinference.instrumentation.crewai import CrewAIInstrumentor

    return instrumented(run, CrewAIInstrumentor())


def agentops() -> Measured:
    """The instrumentation of AgentOps, with a provider in place of its cloud. It wraps anew each time."""
    run = plain()
    from agentops.instrumentation.agentic.crewai import CrewaiInstrumentor

    found = instrumented(run, CrewaiInstrumentor())
    once = cache(found.metered.enter)
    return found._replace(metered=found.metered._replace(enter=once, leave=nothing), is_for_good=True)


def native() -> Measured:
    """CrewAI's own `TraceSession`; a new one for every block."""
    run = plain()
    from crewai.events import crewai_event_bus
    from crewai.telemetry.tracing.session import TraceSession

    traced = tracing()
    stack = ExitStack()
    session: Any = None

    def enter() -> None:
        nonlocal session
        session = TraceSession(str(uuid.uuid4()), processors=[traced.new_processor()])
        stack.enter_context(session.activate())

    def settle() -> None:
        crewai_event_bus.flush()
        session.flush()

    def leave() -> None:
        stack.close()
        session.shutdown()

    return Measured(run, Variant(run.play, enter, leave, settle), traced.span_count)


SUBJECTS = [
    Subject("CrewAI crew", "aforo", CALLS, ("crewai", "aforo_crewai"), ours, is_ours=True),
    Subject(
        "CrewAI crew",
        "OpenLLMetry",
        CALLS,
        ("crewai", "opentelemetry.instrumentation.crewai"),
        openllmetry,
    ),
    Subject(
        "CrewAI crew",
        "OpenInference, listener",
        CALLS,
        ("crewai", "openinference.instrumentation.crewai"),
        openinference,
    ),
    Subject(
        "CrewAI crew",
        "OpenInference, wrappers",
        CALLS,
        ("crewai", "openinference.instrumentation.crewai"),
        openinference_wrappers,
    ),
    Subject("CrewAI crew", "AgentOps", CALLS, ("crewai", "agentops"), agentops),
    Subject("CrewAI crew", "CrewAI TraceSession", CALLS, ("crewai",), native),
]
