"""Real MCP clients of whichever SDK is installed, behind one small face."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

try:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters
    from mcp_types import ElicitResult

    MODERN = True
except ImportError:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    MODERN = False

ERAS = ("auto", "legacy") if MODERN else ("legacy",)
"""The protocols that the installed SDK speaks: the newest it can, and the one with sessions."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a tool answered."""

    text: str
    failed: bool


class Caller:
    """An open connection to a server."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def call(
        self, tool: str, arguments: dict[str, Any] | None = None, meta: dict[str, Any] | None = None
    ) -> Called:
        """Call a tool and wait for its answer."""
        result = await self.client.call_tool(tool, arguments or {}, meta=meta)
        failed = result.is_error if MODERN else result.isError
        return Called(result.content[0].text if result.content else "", bool(failed))

    async def tools(self) -> list[str]:
        """List the tools."""
        return [tool.name for tool in (await self.client.list_tools()).tools]


@asynccontextmanager
async def connected(
    target: str | Sequence[str], era: str = "legacy", environment: dict[str, str] | None = None
) -> AsyncIterator[Caller]:
    """Connect to an address, or to a command that is started for it."""
    parameters: Any = target
    if not isinstance(target, str):
        parameters = StdioServerParameters(command=target[0], args=list(target[1:]), env=environment)
    async with AsyncExitStack() as stack:
        if MODERN:

            async def answer(context: Any, params: Any) -> Any:
                return ElicitResult(action="accept", content={"name": "Ann"})

            client = await stack.enter_async_context(
                Client(parameters, mode=era, elicitation_callback=answer)
            )
        else:
            if isinstance(target, str):
                streams = await stack.enter_async_context(streamable_http_client(target))
            else:
                streams = await stack.enter_async_context(stdio_client(parameters))
            client = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
            await client.initialize()
        yield Caller(client)
