"""The MCP server of the scenario: two tools, one of them a sub-agent; instrumented from its command line.

Where its client of the provider is instrumented, too, the sub-agent tells what it used all the same: whoever
writes such a tool need not know what else is switched on.
"""

from aforo_mcp import AforoMiddleware, report_usage
from fastmcp import FastMCP
from openai import AsyncOpenAI

from tests.matrix import story
from tests.matrix.program import deliver, options, start


def serve() -> None:
    """Serve standard input until it ends, then deliver what was metered."""
    given = options()
    provider = start("mcp", given)
    model = AsyncOpenAI(base_url=given.server, api_key="none", max_retries=0)
    server = FastMCP("almanac")
    tells = "ours" in given.instrument and any(name.endswith("-openai") for name in given.instrument)
    if "ours" in given.instrument:
        server.add_middleware(AforoMiddleware())

    @server.tool(name=story.RESEARCH, description=story.RESEARCH_USE)
    async def research(topic: str) -> str:
        answer = await model.chat.completions.create(
            model=story.MODEL,
            messages=[
                {"role": "system", "content": story.ARCHIVIST_DUTY},
                {"role": "user", "content": topic},
            ],
        )
        if tells:
            report_usage(answer.usage, model=answer.model)
        return answer.choices[0].message.content or ""

    @server.tool(name=story.CONVERT, description=story.CONVERT_USE)
    async def convert(amount: str) -> str:
        raise ValueError(story.CONVERT_FAILURE)

    try:
        server.run("stdio", show_banner=False)
    finally:
        deliver(provider)


if __name__ == "__main__":
    serve()
