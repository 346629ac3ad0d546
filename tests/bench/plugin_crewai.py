"""CrewAI: a crew of one agent with one task, which calls its model, a tool, and its model again.

In one scene the model is CrewAI's own OpenAI client on an API that answers at once. OpenLLMetry and AgentOps wrap
`LLM.call`, which that client does not use: they write no span for a model call (see the column `spans`), so what
they add there is no overhead of metering one. In the other one `LLM.call` asks LiteLLM, and everybody sees the
calls: that scene says what a metered call costs. It needs no LiteLLM: what would answer at once stands in for it.
"""

import os
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeAlias

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


AGENTOPS_WRAPS = {
    "crewai.crew.Crew": "kickoff",
    "crewai.agent.Agent": "execute_task",
    "crewai.task.Task": "execute_sync",
    "crewai.llm.LLM": "call",
    "crewai.utilities.tool_utils": "execute_tool_and_check_finality",
    "crewai.tools.tool_usage.ToolUsage": "use",
}

Plain: TypeAlias = Callable[[], Variant]


class Raw:
    """A response as `with_raw_response` gives it."""

    http_response = None

    def __init__(self, is_final: bool) -> None:
        self.completion = chat_completion(is_final)
        self.text: str = self.completion.model_dump_json()

    def parse(self) -> Any:
        """Return the completion."""
        return self.completion


def through_openai() -> Any:
    """A model that CrewAI calls with its own client of OpenAI's API."""
    from crewai import LLM
    from openai.resources.chat.completions import Completions

    answers = {is_final: Raw(is_final) for is_final in (False, True)}
    Completions.create = lambda self, **asked: answers[is_answered(asked["messages"])]  # type: ignore[assignment,method-assign]
    return LLM(model=f"openai/{MODEL}", base_url="http://127.0.0.1:9", api_key="none")


def through_litellm() -> Any:
    """A model that CrewAI calls through LiteLLM, of which only as much is there as that takes."""
    from crewai import LLM, llm
    from openai.types.chat import ChatCompletion

    answers = {is_final: chat_completion(is_final) for is_final in (False, True)}
    for answer in answers.values():
        answer.model_extra["usage"] = answer.usage.model_dump()  # LiteLLM's answers keep it there
    litellm = SimpleNamespace(
        completion=lambda **asked: answers[is_answered(asked["messages"])],
        utils=SimpleNamespace(supports_function_calling=lambda *args, **kwargs: True),
        success_callback=[],
        _async_success_callback=[],
    )
    llm.__dict__.update(
        _litellm_loaded=True,
        LITELLM_AVAILABLE=True,
        litellm=litellm,
        ModelResponseBase=ChatCompletion,
        get_supported_openai_params=lambda model: ["stop", "tools"],
    )
    return LLM(model=f"openai/{MODEL}", is_litellm=True)


def crew(model: Callable[[], Any]) -> Variant:
    """The crew as it is."""
    os.environ.update(SILENCE)
    os.environ["CREWAI_STORAGE_DIR"] = os.environ["HOME"] = tempfile.mkdtemp(prefix="aforo-bench-")
    from crewai import Agent, Crew, Task
    from crewai.events import crewai_event_bus
    from crewai.tools import tool
    from crewai.utilities.task_output_storage_handler import TaskOutputStorageHandler

    for name in ("reset", "update"):  # a database on disk that only replays need
        setattr(TaskOutputStorageHandler, name, lambda *args, **kwargs: None)

    @tool(TOOL)
    def lookup(customer: str, month: str) -> str:
        """Look usage up."""
        return FOUND

    agent = Agent(role="assistant", goal="bill", backstory=RULES, llm=model(), tools=[lookup], cache=False)
    task = Task(description=QUESTION, expected_output="A sum.", agent=agent)
    team = Crew(agents=[agent], tasks=[task], cache=False)

    def play(count: int) -> None:
        for _ in range(count):
            team.kickoff()

    return Variant(play, settle=crewai_event_bus.flush)


def ours(plain: Plain) -> Measured:
    """Our plugin."""
    run = plain()
    import aforo_crewai

    span_count = our_spool()
    return Measured(
        run, run._replace(enter=aforo_crewai.instrument, leave=aforo_crewai.uninstrument), span_count
    )


def openllmetry(plain: Plain) -> Measured:
    """OpenLLMetry's instrumentation with its defaults."""
    run = plain()
    from opentelemetry.instrumentation.crewai import CrewAIInstrumentor

    return instrumented(run, CrewAIInstrumentor())


def openinference(plain: Plain) -> Measured:
    """OpenInference's instrumentation as a listener at the event bus."""
    run = plain()
    from openinference.instrumentation.crewai import CrewAIInstrumentor

    return instrumented(run, CrewAIInstrumentor(), use_event_listener=True)


def openinference_wrappers(plain: Plain) -> Measured:
    """OpenInference's instrumentation with its defaults."""
    run = plain()
    from openinference.instrumentation.crewai import CrewAIInstrumentor

    return instrumented(run, CrewAIInstrumentor())


def agentops(plain: Plain) -> Measured:
    """The instrumentation of AgentOps, with a provider in place of its cloud. It leaves its wrappers behind."""
    run = plain()
    from agentops.instrumentation.agentic.crewai import CrewaiInstrumentor
    from opentelemetry.instrumentation.utils import unwrap

    found = instrumented(run, CrewaiInstrumentor())

    def leave() -> None:
        found.metered.leave()
        for owner, name in AGENTOPS_WRAPS.items():
            unwrap(owner, name)

    return found._replace(metered=found.metered._replace(leave=leave))


def native(plain: Plain) -> Measured:
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


WHO = (
    ("aforo", "aforo_crewai", ours),
    ("OpenLLMetry", "opentelemetry.instrumentation.crewai", openllmetry),
    ("OpenInference, listener", "openinference.instrumentation.crewai", openinference),
    ("OpenInference, wrappers", "openinference.instrumentation.crewai", openinference_wrappers),
    ("AgentOps", "agentops", agentops),
    ("CrewAI TraceSession", "crewai", native),
)
SUBJECTS = [
    Subject(scene, name, CALLS, ("crewai", module), partial(start, partial(crew, model)), start is ours)
    for scene, model in (("CrewAI crew", through_openai), ("CrewAI, LiteLLM", through_litellm))
    for name, module, start in WHO
]
