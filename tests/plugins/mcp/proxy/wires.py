"""A client, a proxy and a scripted upstream in one process, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aforo_mcp import proxy_http
from aforo_mcp.proxy_calls import Parked, Payment
from aforo_mcp.proxy_exchange import Sessions
from aforo_sdk.plugin import Identity
from aiohttp import web
from yarl import URL

from tests.plugins.mcp.proxy.upstreams import Asked, Script, Upstream, Write, serving


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Serve a proxy of `url`; yields a client and the proxy's address."""
    parked = Parked()
    payment = Payment(Identity(product_type="MCP_SERVER"))
    proxy = proxy_http.HttpProxy(URL(url), Sessions(payment, parked), loopback_only=True)
    runner = proxy_http.runner(proxy)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as client:
        yield client, f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    await runner.cleanup()
    await proxy.close()
    parked.close()


def exchange(
    script: Script, talk: Callable[[aiohttp.ClientSession, str, Upstream], Awaitable[None]]
) -> Upstream:
    """Run a client against a scripted upstream behind the proxy."""

    async def run() -> Upstream:
        async with serving(script) as upstream, proxied(upstream.url) as (client, address):
            await talk(client, address, upstream)
            return upstream

    return asyncio.run(run())


def always(answer: bytes) -> Script:
    """Answer every request with these bytes."""

    async def script(_: Asked, write: Write) -> None:
        await write(answer)

    return script


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the spool is a file
            await asyncio.sleep(0.01)
