"""Small crews that talk to the fake server, as a user would write them."""

from collections.abc import Sequence
from typing import Any

from crewai import LLM, Agent, BaseLLM, Crew, Task
from crewai.events import crewai_event_bus
from crewai.tools import tool
from pydantic import Field

from tests.fake_openai import FakeOpenAI, Reply


@tool("lookup")
def lookup(city: str) -> str:
    """Look up the weather of a city."""
    return f"rain in {city}"


@tool("broken")
def broken(city: str) -> str:
    """Break."""
    raise KeyError(city)


def asks(*calls: tuple[str, dict[str, Any]], **fields: Any) -> Reply:
    """A reply that asks for tools, each (name, arguments)."""
    return Reply(tool_calls=[("", name, arguments) for name, arguments in calls], **fields)


def model(server: FakeOpenAI, **options: Any) -> LLM:
    """CrewAI's own OpenAI client, pointed at the fake server."""
    return LLM(model="openai/stub-1", base_url=server.url, api_key="none", **options)


def agent(llm: BaseLLM, *tools: Any, role: str = "researcher ", **options: Any) -> Agent:
    """An agent with a role that ends in white space, as roles out of YAML files do."""
    return Agent(role=role, goal="find out", backstory="curious", llm=llm, tools=list(tools), **options)


def task(worker: Agent, **options: Any) -> Task:
    """A task without a name: what is left to tell it by is its prompt."""
    return Task(description="secret prompt", expected_output="a sentence", agent=worker, **options)


def crew(llm: BaseLLM, *tools: Any, name: str = "weather", **options: Any) -> Crew:
    """A crew of one agent with one task."""
    worker = agent(llm, *tools)
    return Crew(name=name, agents=[worker], tasks=[task(worker)], **options)


def settle() -> None:
    """Wait until CrewAI's own handlers have run: some of them print."""
    crewai_event_bus.flush()


class Silent(BaseLLM):
    """A model of the user's own that tells CrewAI's event bus nothing; gives `answers` in turn, then a last
    word.
    """

    answers: Sequence[Any] = Field(default_factory=list)
    native: bool = False

    def call(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer, or raise the exception that is next."""
        said, self.answers = (self.answers[0], self.answers[1:]) if self.answers else (LAST_WORD, [])
        if isinstance(said, Exception):
            raise said
        return said

    async def acall(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer, in a coroutine."""
        return self.call(messages)

    def supports_function_calling(self) -> bool:
        """Say whether tools are told to the model as such."""
        return self.native


LAST_WORD = "Thought: I know\nFinal Answer: done"
