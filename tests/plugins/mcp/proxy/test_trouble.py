"""Trouble of metering in the proxy: what passes does not suffer from it."""

import logging
from typing import Any

import aiohttp
import pytest
from aforo_mcp import proxy_stdio
from aforo_mcp.proxy_calls import Connection, Parked, Payment
from aforo_sdk import notices
from aforo_sdk.plugin import Identity

from tests.plugins.mcp.proxy.conftest import ReadSpool
from tests.plugins.mcp.proxy.test_connection import call, reply
from tests.plugins.mcp.proxy.upstreams import SSE, Asked, Upstream, Write, chunked, event
from tests.plugins.mcp.proxy.wires import exchange


def broken(*args: Any, **kwargs: Any) -> Any:
    """Stand for code of ours that fails."""
    raise ZeroDivisionError("ours")


@pytest.mark.parametrize(
    "part",
    [
        "proxy_exchange.Sessions.of_request",
        "proxy_exchange.Sessions.end",
        "links.for_request",
        "jsonrpc.messages",
        "jsonrpc.Events.feed",
        "proxy_calls.Connection.end",
        "proxy_calls._emit",
    ],
)
def test_trouble_over_http(
    spool: ReadSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    """Whatever part of metering fails, the client gets the upstream's own answer; it is counted and said once."""
    answer = chunked(event(reply(1))) + chunked(b"")
    got = []

    async def script(asked: Asked, write: Write) -> None:
        await write(SSE + (answer if asked.body else chunked(b"")))

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        for body in (call(1), call(2)):  # the second has no answer of its own
            async with client.post(address, data=body) as answered:
                got.append((answered.status, await answered.read()))
        async with client.delete(address, headers={"Mcp-Session-Id": "s-1"}) as answered:
            got.append((answered.status, await answered.read()))

    notices.forget()
    monkeypatch.setattr(f"aforo_mcp.{part}", broken)
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        exchange(script, talk)
    assert got == [(200, event(reply(1)))] * 2 + [(200, b"")]
    assert notices.counters()["mcp_proxy_failed"] >= 1
    said = [line.getMessage() for line in caplog.records if "could not be metered" in line.getMessage()]
    assert 0 < len(said) == len(set(said))


def test_trouble_over_stdio(spool: ReadSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What watches a stream never raises into what passes it on."""
    connection = Connection(Payment(Identity()), Parked())
    notices.forget()
    monkeypatch.setattr("aforo_mcp.jsonrpc.Lines.feed", broken)
    for watch in (proxy_stdio._requests, proxy_stdio._replies):
        watch(connection)(call(1) + b"\n")
    assert notices.counters()["mcp_proxy_failed"] == 2
