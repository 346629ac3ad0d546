"""The scenario as an AG2 program. Streaming is a setting of the model, so both of the guide's calls stream."""

import asyncio

from ag2 import Agent
from ag2.config import OpenAIConfig
from ag2.middleware import TelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider

from tests.matrix import story
from tests.matrix.program import main


def play(url: str, native: TracerProvider | None = None) -> str:
    """Ask the guide and return its answer."""
    return asyncio.run(_play(url, native))


async def _play(url: str, native: TracerProvider | None) -> str:
    def telemetry(agent_name: str) -> list[TelemetryMiddleware]:
        return [TelemetryMiddleware(tracer_provider=native, agent_name=agent_name)] if native else []

    def config(streaming: bool) -> OpenAIConfig:
        return OpenAIConfig(story.MODEL, api_key="none", base_url=url, max_retries=0, streaming=streaming)

    archivist = Agent(
        story.ARCHIVIST, story.ARCHIVIST_DUTY, config=config(False), middleware=telemetry(story.ARCHIVIST)
    )

    async def research(topic: str) -> str:
        """Look a topic up."""
        return str((await archivist.ask(topic)).body)

    async def convert(amount: str) -> str:
        """Convert an amount of money."""
        raise ValueError(story.CONVERT_FAILURE)

    guide = Agent(
        story.GUIDE,
        story.GUIDE_DUTY,
        config=config(True),
        tools=[research, convert],
        middleware=telemetry(story.GUIDE),
    )
    return str((await guide.ask(story.QUESTION)).body)


if __name__ == "__main__":
    main("ag2", play)
