"""Real clients: of the MCP SDK of this environment for its servers, addresses and commands, else FastMCP's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import fastmcp
import mcp

from tests.plugins.mcp.servers import MODERN

CallTool = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def connect(target: Any, mode: str = "auto") -> AsyncIterator[CallTool]:
    """Connect to a server object, an address or a command; give `await call(tool, arguments, meta)`.

    `mode` is "legacy" for the handshake and "auto" for the newest protocol that the environment has.
    """
    async with AsyncExitStack() as stack:
        if isinstance(target, fastmcp.FastMCP):
            eras = {"mode": mode} if MODERN else {}
            client = await stack.enter_async_context(fastmcp.Client(target, **eras))
            call = client.call_tool_mcp
        elif MODERN:
            client = await stack.enter_async_context(mcp.Client(target, mode=mode))
            call = client.call_tool
        else:
            call = (await _session(target, stack)).call_tool
        yield lambda tool, arguments=None, meta=None, **more: call(tool, arguments or {}, meta=meta, **more)


async def _session(target: Any, stack: AsyncExitStack) -> Any:
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared.memory import create_connected_server_and_client_session

    if isinstance(target, str):
        read, write, _ = await stack.enter_async_context(streamable_http_client(target))
    elif isinstance(target, mcp.StdioServerParameters):
        read, write = await stack.enter_async_context(stdio_client(target))
    else:
        return await stack.enter_async_context(create_connected_server_and_client_session(target))
    session = await stack.enter_async_context(mcp.ClientSession(read, write))
    await session.initialize()
    return session


def failed(result: Any) -> bool:
    """Whether the result of a call is an error."""
    return bool(result.is_error if MODERN else result.isError)
