"""The scenario as a CrewAI program. Whether a call streams is a switch on the model, set before the last call."""

import uuid
from contextlib import nullcontext
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.telemetry.tracing.session import TraceSession
from crewai.tools import tool
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from tests.matrix import story
from tests.matrix.program import main


def play(url: str, native: TracerProvider | None = None) -> str:
    """Ask the guide and return its answer."""
    if native is None:
        return _play(url, nullcontext())
    session = TraceSession(
        str(uuid.uuid4()), processors=[native._active_span_processor], resource=Resource.create()
    )
    try:
        return _play(url, session.activate())
    finally:
        session.finish_spans()
        session.flush()


def _play(url: str, tracing: Any) -> str:
    def model() -> LLM:
        return LLM(model=f"openai/{story.MODEL}", base_url=url, api_key="none")

    def agent(role: str, duty: str, **more: Any) -> Agent:
        return Agent(role=role, goal=duty, backstory=duty, allow_delegation=False, **more)

    guide_model = model()
    archivist = agent(story.ARCHIVIST, story.ARCHIVIST_DUTY, llm=model())

    @tool(story.RESEARCH)
    def research(topic: str) -> str:
        """Look a topic up."""
        fact = str(archivist.kickoff(topic).raw)
        guide_model.stream = True
        return fact

    @tool(story.CONVERT)
    def convert(amount: str) -> str:
        """Convert an amount of money."""
        raise ValueError(story.CONVERT_FAILURE)

    guide = agent(story.GUIDE, story.GUIDE_DUTY, llm=guide_model, tools=[research, convert])
    task = Task(description=story.QUESTION, expected_output="One sentence.", agent=guide)
    with tracing:
        return str(Crew(agents=[guide], tasks=[task]).kickoff().raw)


if __name__ == "__main__":
    main("crewai", play)
