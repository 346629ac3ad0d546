"""The scenario as a Pydantic AI program: a framework without a plugin of ours, with tracing of its own."""

import asyncio

from opentelemetry.sdk.trace import TracerProvider
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.matrix import story
from tests.matrix.program import main


def play(url: str, native: TracerProvider | None = None) -> str:
    """Ask the guide and return its answer."""
    return asyncio.run(_play(url, native))


async def _play(url: str, native: TracerProvider | None) -> str:
    model = OpenAIChatModel(story.MODEL, provider=OpenAIProvider(base_url=url, api_key="none"))
    if native:
        Agent.instrument_all(InstrumentationSettings(tracer_provider=native))
    archivist = Agent(model, name=story.ARCHIVIST, system_prompt=story.ARCHIVIST_DUTY)
    guide = Agent(model, name=story.GUIDE, system_prompt=story.GUIDE_DUTY, retries=3)

    @guide.tool_plain(name=story.RESEARCH, description=story.RESEARCH_USE)
    async def research(topic: str) -> str:
        return (await archivist.run(topic)).output

    @guide.tool_plain(name=story.CONVERT, description=story.CONVERT_USE)
    async def convert(amount: str) -> str:
        raise ModelRetry(story.CONVERT_FAILURE)

    requests = 0
    async with guide.iter(story.QUESTION) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                requests += 1
                if requests == 2:
                    async with node.stream(run.ctx) as stream:
                        async for _ in stream:
                            pass
    return str(run.result.output if run.result else "")


if __name__ == "__main__":
    main("pydantic_ai", play)
