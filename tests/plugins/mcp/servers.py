"""The same tools under every server that this environment has: MCP SDK 1.x or 2.x, FastMCP 3 or 4.

As a program it serves one of them: `python servers.py KIND stdio|http [PORT]`.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import fastmcp
from aforo_mcp import AforoMiddleware, metered_tool, report_cost, report_usage

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.types import CallToolResult, TextContent

    MODERN = True
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.types import CallToolResult, TextContent

    MODERN = False

FASTMCP_KINDS = ["fastmcp-decorated", "fastmcp-middleware", "fastmcp-both"]
SDK_KINDS = ["sdk-decorated", "sdk-middleware", "sdk-both"] if MODERN else ["sdk-decorated"]
KINDS = [*SDK_KINDS, *FASTMCP_KINDS]
MODES = ["legacy", "auto"] if MODERN else ["legacy"]


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def wait(delay_s: float) -> str:
    """Take a while."""
    await asyncio.sleep(delay_s)
    return "done"


def fail() -> str:
    """Fail."""
    raise ValueError("a secret")


async def fail_late() -> str:
    """Fail after a pause."""
    await asyncio.sleep(0)
    raise ValueError("a secret")


def time_out() -> str:
    """Give up on something slow."""
    raise TimeoutError("too slow")


def refuse() -> CallToolResult:
    """Answer with an error."""
    return CallToolResult(content=[TextContent(type="text", text="no")], isError=True)


async def pay() -> str:
    """Report costs and tokens from the tool, from a task and from a thread."""
    report_cost("0.01")
    await asyncio.create_task(asyncio.to_thread(report_cost, "0.02"))
    report_usage({"input_tokens": 30, "output_tokens": 5, "reasoning_tokens": 2}, model="stub-1")
    report_usage({"prompt_tokens": 10, "completion_tokens": 1})
    return "paid"


def price() -> dict[str, Any]:
    """Report the cost in the result."""
    return {"total_provider_cost": "0.0042", "input_tokens": 320, "output_tokens": 84}


TOOLS = [add, wait, fail, fail_late, time_out, refuse, pay, price]


def greeter(context_class: type) -> Callable[..., Any]:
    """Return a tool that the framework hands its own context."""

    async def greet(name: str, ctx: context_class) -> str:  # type: ignore[valid-type]
        return f"{name} {ctx.request_context.request_id}"  # type: ignore[attr-defined]

    return greet


def build(kind: str, **terms: Any) -> Any:
    """Return a server of this kind; `terms` are those of its middleware, or of every decorator."""
    framework, _, how = kind.partition("-")
    middleware = [] if how == "decorated" else [AforoMiddleware(**terms)]
    if framework == "fastmcp":
        server: Any = fastmcp.FastMCP("tools", middleware=middleware)
        tools = [*TOOLS, greeter(fastmcp.Context)]
    else:
        server = MCPServer("tools", middleware=middleware) if middleware else MCPServer("tools")
        tools = [*TOOLS, greeter(Context)]
    metered = metered_tool(**({} if middleware else terms))
    for tool in tools:
        server.tool()(tool if how == "middleware" else metered(tool))
    return server


def application(server: Any, **options: Any) -> Any:
    """Return the ASGI application of a server, streamable HTTP at /mcp."""
    return (
        server.streamable_http_app() if hasattr(server, "streamable_http_app") else server.http_app(**options)
    )


def main(kind: str, transport: str, port: str = "0") -> None:
    """Serve over stdio, or over HTTP on a loopback port."""
    server = build(kind)
    if transport == "stdio":
        server.run("stdio")
        return
    import uvicorn

    uvicorn.run(application(server), host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
