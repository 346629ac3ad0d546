"""The scenario as an AutoGen program. Streaming is a setting of the agent, so both of the guide's calls stream;
as by default, nobody asks for the usage of streams.
"""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelFamily
from autogen_ext.models.openai import OpenAIChatCompletionClient
from opentelemetry.sdk.trace import TracerProvider

from tests.matrix import story
from tests.matrix.program import main


def play(url: str, native: TracerProvider | None = None) -> str:
    """Ask the guide and return its answer."""
    return asyncio.run(_play(url))


async def _play(url: str) -> str:
    client = OpenAIChatCompletionClient(
        model=story.MODEL,
        base_url=url,
        api_key="none",
        max_retries=0,
        model_info={
            "vision": False,
            "function_calling": True,
            "json_output": True,
            "structured_output": True,
            "family": ModelFamily.GPT_4O,
        },
    )
    archivist = AssistantAgent(story.ARCHIVIST, client, system_message=story.ARCHIVIST_DUTY)

    async def research(topic: str) -> str:
        """Look a topic up."""
        return (await archivist.run(task=topic)).messages[-1].to_text()

    async def convert(amount: str) -> str:
        """Convert an amount of money."""
        raise ValueError(story.CONVERT_FAILURE)

    guide = AssistantAgent(
        story.GUIDE,
        client,
        tools=[research, convert],
        system_message=story.GUIDE_DUTY,
        reflect_on_tool_use=True,
        model_client_stream=True,
    )
    answer = (await guide.run(task=story.QUESTION)).messages[-1].to_text()
    await client.close()
    return answer


if __name__ == "__main__":
    main("autogen", play)
