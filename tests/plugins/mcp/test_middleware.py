"""What the middleware lets pass, and what it makes of servers inside servers and of calls in rounds."""

import asyncio
import contextlib
from typing import Any

import fastmcp
import pytest
from aforo_mcp import AforoMiddleware, metered_tool, report_cost

from tests.plugins.mcp.clients import connect
from tests.plugins.mcp.servers import KINDS, MODERN, MODES, add, build
from tests.plugins.spool import ReadSpans

WITH_MIDDLEWARE = [kind for kind in KINDS if kind.endswith("middleware")]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", WITH_MIDDLEWARE)
def test_only_calls_are_billed(spans: ReadSpans, kind: str, mode: str) -> None:
    """Handshakes, lists, prompts, resources and pings make no span."""
    server = build(kind)

    @server.prompt()
    def hello() -> str:
        """Say hello."""
        return "hello"

    @server.resource("data://one")
    def one() -> str:
        """Hold one."""
        return "1"

    async def main() -> None:
        if isinstance(server, fastmcp.FastMCP):
            client: Any = fastmcp.Client(server, **({"mode": mode} if MODERN else {}))
        else:
            import mcp

            client = mcp.Client(server, mode=mode)
        async with client:
            await client.list_tools()
            await client.get_prompt("hello")
            await client.read_resource("data://one")
            if mode == "legacy" and isinstance(server, fastmcp.FastMCP):
                await client.ping()

    asyncio.run(main())
    assert spans() == []


def test_mounted_servers(spans: ReadSpans) -> None:
    """A call that passes a server and one mounted in it is one span, under the name the client called."""

    async def main() -> None:
        inner, outer = build("fastmcp-both"), build("fastmcp-middleware", team_id="t-1")
        outer.mount(inner, namespace="inner")
        async with connect(outer) as call:
            await call("inner_add", {"a": 1})
            await call("inner_price")
            await call("inner_pay")

    asyncio.run(main())
    added, priced, paid = spans()
    assert (added.name, added["aforo.team.id"]) == ("tools/call inner_add", "t-1")
    assert [priced["aforo.provider_cost"], paid["aforo.provider_cost"]] == ["0.0042", "0.03"]


@pytest.mark.parametrize("metered", ["proxy", "backend"])
def test_proxies(spans: ReadSpans, metered: str) -> None:
    """A call through a proxy that is metered, or to a metered server behind one, is one span."""
    from fastmcp.server import create_proxy

    async def main() -> None:
        backend: Any = fastmcp.FastMCP("backend")
        backend.tool()(add)
        proxy = create_proxy(backend, name="proxy")
        (proxy if metered == "proxy" else backend).add_middleware(AforoMiddleware())
        async with connect(proxy) as call:
            for number in range(3):
                await call("add", {"a": number}, {"customerId": f"c-{number}"})

    asyncio.run(main())
    assert [(span.name, span["aforo.customer.id"]) for span in spans()] == [
        ("tools/call add", "c-0"),
        ("tools/call add", "c-1"),
        ("tools/call add", "c-2"),
    ]


def test_a_server_called_by_a_tool(spans: ReadSpans) -> None:
    """A tool that calls another server makes a call there, which is a span of its own for the same payer."""
    other = build("fastmcp-middleware")

    async def ask() -> str:
        """Ask the other server."""
        async with connect(other) as call:
            return str((await call("add", {"a": 1})).content[0].text)

    async def main() -> None:
        server = build("fastmcp-middleware")
        server.tool()(ask)
        async with connect(server) as call:
            await call("ask", {}, {"customerId": "globex"})

    asyncio.run(main())
    assert [(span.name, span["aforo.customer.id"]) for span in spans()] == [
        ("tools/call add", "globex"),
        ("tools/call ask", "globex"),
    ]


def test_tools_called_through_the_server(spans: ReadSpans) -> None:
    """A tool that calls another one of its own server is one request, and so one span."""

    async def both(ctx: fastmcp.Context) -> str:
        """Call another tool."""
        await ctx.fastmcp.call_tool("pay", {})
        return "ok"

    async def main() -> None:
        server = build("fastmcp-both")
        server.tool()(metered_tool(both))
        async with connect(server) as call:
            await call("both")

    asyncio.run(main())
    (span,) = spans()
    assert (span.name, span["aforo.provider_cost"]) == ("tools/call both", "0.03")


def test_slow_tools_of_fastmcp(spans: ReadSpans) -> None:
    """A tool that FastMCP stops because it takes too long ends as a timeout."""

    async def main() -> None:
        server = build("fastmcp-middleware")
        server.tool(timeout=0.05)(metered_tool(linger))
        async with connect(server) as call:
            await call("linger")

    with contextlib.suppress(McpError):  # FastMCP 3 gives it to the client as an error of the protocol
        asyncio.run(main())
    (span,) = spans()
    assert span["error.type"] == "TimeoutError"


async def linger() -> None:
    """Take too long."""
    await asyncio.sleep(60)


if MODERN:
    from mcp import MCPError as McpError
    from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult

    def asking(context_class: type) -> Any:
        """Return a tool that asks for input in two rounds, and pays in each."""

        async def ask(ctx: context_class) -> str | InputRequiredResult:  # type: ignore[valid-type]
            report_cost("0.01")
            rounds = int(ctx.request_state or 0)  # type: ignore[attr-defined]
            if rounds == 2:
                return "done"
            params = ElicitRequestFormParams(
                message="?", requested_schema={"type": "object", "properties": {}}
            )
            return InputRequiredResult(
                input_requests={"q": ElicitRequest(params=params)}, request_state=str(rounds + 1)
            )

        return ask

    async def accept(*_: Any) -> Any:
        """Answer every question."""
        return ElicitResult(action="accept", content={})

    def test_low_level_servers(spans: ReadSpans) -> None:
        """The SDK's low-level server takes the middleware too, and a made-up name costs nobody anything."""
        from mcp.server.lowlevel.server import Server
        from mcp.types import CallToolResult, ListToolsResult, TextContent

        async def show(context: Any, params: Any) -> ListToolsResult:
            return ListToolsResult(tools=[])

        async def answer(context: Any, params: Any) -> CallToolResult:
            if params.name != "add":
                raise McpError(code=-32602, message="unknown tool")
            return CallToolResult(content=[TextContent(type="text", text="2")])

        async def main() -> None:
            server = Server("low", on_call_tool=answer, on_list_tools=show)
            server.middleware.append(AforoMiddleware())
            async with connect(server) as call:
                await call("add")
                with pytest.raises(McpError):
                    await call("x" * 10_000)

        asyncio.run(main())
        added, unknown = spans()
        assert (added.name, added["error.type"]) == ("tools/call add", None)
        assert (unknown["gen_ai.tool.name"], unknown["error.type"]) == ("x" * 256, "-32602")

    @pytest.mark.parametrize("kind", KINDS)
    def test_rounds_are_one_call(spans: ReadSpans, kind: str) -> None:
        """A call that asks for input twice is billed once, with the costs of all its rounds."""
        import mcp
        from mcp.server.mcpserver import Context

        async def main() -> None:
            server = build(kind)
            is_fastmcp = isinstance(server, fastmcp.FastMCP)
            tool = asking(fastmcp.Context if is_fastmcp else Context)
            server.tool()(tool if kind.endswith("middleware") else metered_tool(tool))
            client: Any = (
                fastmcp.Client(server, elicitation_handler=accept)
                if is_fastmcp
                else mcp.Client(server, elicitation_callback=accept)
            )
            async with client:
                result = await client.call_tool("ask", {})
                assert result.content[0].text == "done"

        asyncio.run(main())
        first, second, last = spans()
        assert first.name == second.name == "paused tools/call ask"
        assert [first["gen_ai.operation.name"], second["mcp.method.name"]] == [None, None]
        assert (last.name, last["aforo.provider_cost"]) == ("tools/call ask", "0.03")
        assert (last.start_ns, last.trace) == (first.start_ns, first.trace)

else:
    from mcp import McpError
