"""A real MCP server of whichever SDK is installed: `server.py stdio`, or `server.py http PORT [json]`.

It answers the calls of its tools and knows nothing of any proxy. After `listening` it serves.
"""

import asyncio
import os
import sys
from typing import Any

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.types import CallToolResult, TextContent

    MODERN = True
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.types import CallToolResult, TextContent

    MODERN = False

server: Any = MCPServer("sums")


@server.tool()
def add(a: int, b: int) -> int:
    """Return the sum of two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Raise."""
    raise ValueError("not today")


@server.tool()
async def slow(seconds: float) -> str:
    """Take its time."""
    await asyncio.sleep(seconds)
    return "done"


@server.tool()
async def talk(ctx: Context) -> str:
    """Report progress, then answer."""
    for step in range(3):
        await ctx.report_progress(step, 3)
        await asyncio.sleep(0.01)
    return "done"


@server.tool()
def repeat(text: str) -> str:
    """Return what it is given."""
    return text


@server.tool()
def priced() -> CallToolResult:
    """Report what it cost."""
    cost = {"total_provider_cost": "0.0042", "usage": {"input_tokens": 120, "output_tokens": 30}}
    content = [TextContent(type="text", text="dear")]
    return CallToolResult.model_validate({"content": content, "_meta": cost})


@server.tool()
def die() -> str:
    """End the whole server, without a word."""
    os._exit(3)


if MODERN:
    from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

    @server.tool()
    async def ask(ctx: Context) -> str | InputRequiredResult:
        """Ask the user once before it answers."""
        if ctx.input_responses:
            return "thanks"
        schema: Any = {"type": "object", "properties": {"name": {"type": "string"}}}
        question = ElicitRequest(params=ElicitRequestFormParams(message="who?", requested_schema=schema))
        return InputRequiredResult(input_requests={"who": question}, request_state="round-1")


def _serve_http(port: int, *, json_response: bool) -> None:
    import uvicorn

    if MODERN:
        application = server.streamable_http_app(json_response=json_response)
    else:
        server.settings.json_response = json_response
        application = server.streamable_http_app()
    settings = uvicorn.Config(application, port=port, log_level="error", ws="none")
    uvicorn.Server(settings).run()


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        _serve_http(int(sys.argv[2]), json_response="json" in sys.argv[3:])
