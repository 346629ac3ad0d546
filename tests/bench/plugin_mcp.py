"""MCP servers: one call of a tool that answers at once, asked for in JSON-RPC over streams in memory.

There is no SDK client: it would write spans of its own. So peers that only patch clients, or carry context
through transports (OpenInference's), have nothing to be measured here.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from plugin_variants import FOUND, TOOL, Measured, Subject, Traced, Variant, our_spool, tracing

HANDSHAKE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
ARGUMENTS = {"customer": "42", "month": "2026-09"}


def lookup_usage(customer: str, month: str) -> str:
    """Look usage up."""
    return FOUND


def sdk_server(tool: Callable[..., Any] = lookup_usage, *middleware: Any, is_traced: bool = False) -> Any:
    """The low-level server under a server of the MCP SDK, whichever generation is here."""
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError:
        from mcp.server.fastmcp import FastMCP

        old = FastMCP("bench")
        old.add_tool(tool, name=TOOL)
        return old._mcp_server
    from mcp.server._otel import OpenTelemetryMiddleware

    server = MCPServer("bench", middleware=list(middleware))
    server.add_tool(tool, name=TOOL)
    low = server._lowlevel_server
    if not is_traced:
        low.middleware = [one for one in low.middleware if not isinstance(one, OpenTelemetryMiddleware)]
    return low


def fastmcp_server(tool: Callable[..., Any] = lookup_usage, *middleware: Any) -> Any:
    """The low-level server under FastMCP's."""
    from fastmcp import FastMCP

    server = FastMCP("bench", middleware=list(middleware))
    server.tool(tool, name=TOOL)
    return server._mcp_server


def calls_of(server: Any) -> Variant:
    """Calls of the tool of a low-level server that is connected now, and for as long as the process lives."""
    from mcp.shared.memory import create_client_server_memory_streams
    from mcp.shared.message import SessionMessage

    loop = _loop()
    ready: asyncio.Future[tuple[Any, Any]] = loop.create_future()

    async def serve() -> None:
        async with create_client_server_memory_streams() as (client, theirs):
            ready.set_result(client)
            await server.run(*theirs, server.create_initialization_options())

    serving = loop.create_task(serve())
    replies, requests = loop.run_until_complete(ready)

    async def ask(method: str, params: dict[str, Any], number: int | None) -> Any:
        request = {"jsonrpc": "2.0", "method": method, "params": params}
        await requests.send(SessionMessage(_message(request | ({"id": number} if number else {}))))
        if number is None:
            return None
        message = (await replies.receive()).message
        return getattr(message, "root", message)

    async def begin() -> None:
        await ask("initialize", HANDSHAKE, 1)
        await ask("notifications/initialized", {}, None)
        reply = await ask("tools/call", {"name": TOOL, "arguments": ARGUMENTS}, 2)
        if "88000" not in str(reply):
            raise SystemExit(f"the tool did not answer: {reply}")

    async def call(count: int) -> None:
        for number in range(count):
            await ask("tools/call", {"name": TOOL, "arguments": ARGUMENTS}, number + 3)

    loop.run_until_complete(begin())
    assert not serving.done()
    return Variant(lambda count: loop.run_until_complete(call(count)))


def _loop() -> asyncio.AbstractEventLoop:
    with suppress(RuntimeError):
        return asyncio.get_event_loop_policy().get_event_loop()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _message(request: dict[str, Any]) -> Any:
    try:
        from mcp_types import jsonrpc_message_adapter

        return jsonrpc_message_adapter.validate_python(request)
    except ImportError:
        from mcp.types import JSONRPCMessage

        return JSONRPCMessage.model_validate(request)


def decorated(make: Callable[..., Any]) -> Measured:
    """Our decorator."""
    from aforo_mcp import metered_tool

    span_count = our_spool()
    return Measured(calls_of(make()), calls_of(make(metered_tool(lookup_usage))), span_count)


def between(make: Callable[..., Any]) -> Measured:
    """Our middleware."""
    from aforo_mcp import AforoMiddleware

    span_count = our_spool()
    return Measured(calls_of(make()), calls_of(make(lookup_usage, AforoMiddleware())), span_count)


def sdk_native() -> Measured:
    """The middleware that the SDK from 2.0 on puts before all others."""
    traced = tracing(is_global=True)
    return _settled(calls_of(sdk_server()), calls_of(sdk_server(is_traced=True)), traced)


def fastmcp_native() -> Measured:
    """FastMCP's own spans."""
    import fastmcp

    traced = tracing(is_global=True)
    run = calls_of(fastmcp_server())

    def set_mode(mode: str) -> None:
        fastmcp.settings.telemetry_mode = mode

    plain = run._replace(enter=lambda: set_mode("off"))
    return _settled(plain, run._replace(enter=lambda: set_mode("native")), traced)


def _settled(plain: Variant, metered: Variant, traced: Traced) -> Measured:
    return Measured(plain, metered._replace(settle=traced.provider.force_flush), traced.span_count)


SUBJECTS = [
    Subject("MCP SDK", "aforo, decorator", 1, ("mcp", "aforo_mcp"), lambda: decorated(sdk_server), True),
    Subject(
        "MCP SDK",
        "aforo, middleware",
        1,
        ("mcp.server.mcpserver", "aforo_mcp"),
        lambda: between(sdk_server),
        True,
    ),
    Subject("MCP SDK", "the SDK's own", 1, ("mcp.server.mcpserver", "opentelemetry.sdk"), sdk_native),
    Subject(
        "FastMCP", "aforo, decorator", 1, ("fastmcp", "aforo_mcp"), lambda: decorated(fastmcp_server), True
    ),
    Subject(
        "FastMCP", "aforo, middleware", 1, ("fastmcp", "aforo_mcp"), lambda: between(fastmcp_server), True
    ),
    Subject("FastMCP", "FastMCP's own", 1, ("fastmcp", "opentelemetry.sdk"), fastmcp_native),
]
