"""The scenario as an agent written by hand on the provider's client, whose tools are an MCP server's.

The server is a child process over stdio (`mcp_server`), behind `aforo mcp-proxy` if that is wanted. Both
processes are instrumented alike; the sub-agent lives in the server.
"""

import asyncio
import json
import os
import sys
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from openai import AsyncOpenAI
from opentelemetry.sdk.trace import TracerProvider

from tests.matrix import story
from tests.matrix.program import main

PROXY = "import sys; from aforo_mcp.proxy_command import main; sys.exit(main(sys.argv[1:]))"


def play(url: str, native: TracerProvider | None = None) -> str:
    """Ask the guide and return its answer."""
    return asyncio.run(_play(url))


async def _play(url: str) -> str:
    model = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    messages: list[Any] = [
        {"role": "system", "content": story.GUIDE_DUTY},
        {"role": "user", "content": story.QUESTION},
    ]
    async with Client(StdioTransport(*_command(), env=dict(os.environ), keep_alive=False)) as tools:
        offered = [
            {"type": "function", "function": {"name": tool.name, "description": tool.description or ""}}
            for tool in await tools.list_tools()
        ]
        asked = await model.chat.completions.create(model=story.MODEL, messages=messages, tools=offered)  # type: ignore[call-overload]
        message = asked.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        messages += await asyncio.gather(*(_call(tools, wanted) for wanted in message.tool_calls))
    answer = await model.chat.completions.create(
        model=story.MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    return "".join([part.choices[0].delta.content or "" async for part in answer if part.choices])


async def _call(tools: Client[Any], wanted: Any) -> dict[str, Any]:
    arguments = json.loads(wanted.function.arguments)
    result = await tools.call_tool(wanted.function.name, arguments, raise_on_error=False)
    return {"role": "tool", "tool_call_id": wanted.id, "content": result.content[0].text}


def _command() -> tuple[str, list[str]]:
    """The command of the server: the options of this program, for the other side of the pipe."""
    server = [sys.executable, "-m", "tests.matrix.scenarios.mcp_server", *sys.argv[1:]]
    if "proxy" in sys.argv[sys.argv.index("--instrument") + 1].split(","):
        server = [sys.executable, "-c", PROXY, "--", *server]
    return server[0], server[1:]


if __name__ == "__main__":
    main("mcp", play)
