"""Streams of the HTTP proxy: split, broken off, resumed, deleted."""

import asyncio

import aiohttp
import pytest
from aforo_mcp import proxy_exchange
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.plugins.mcp.proxy.conftest import ReadSpool
from tests.plugins.mcp.proxy.test_connection import call, reply
from tests.plugins.mcp.proxy.test_jsonrpc import cut
from tests.plugins.mcp.proxy.upstreams import SSE, Asked, Upstream, Write, chunked, event, plain
from tests.plugins.mcp.proxy.wires import always, exchange, until

LEGACY = {"Mcp-Session-Id": "s1", "Content-Type": "application/json"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(min_value=0, max_value=1000)),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
)
def test_streams_split_anywhere_pass(
    spool: ReadSpool, places: list[int], newline: bytes, failed: bool
) -> None:
    """However an answer's stream is split, its bytes come through as they are, and it is one call."""
    progress = b'{"method":"notifications/progress","params":{}}'
    stream = b": hi" + newline * 2 + event(progress, newline) + event(reply(1, isError=failed), newline)
    before = len(spool())

    async def script(_: Asked, write: Write) -> None:
        await write(SSE)
        for piece in cut(stream, places):
            if piece:
                await write(chunked(piece))
                await asyncio.sleep(0)
        await write(chunked(b""))

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.post(address, data=call(1)) as answer:
            assert await answer.read() == stream

    exchange(script, talk)
    assert [span.failed for span in spool()[before:]] == [failed]


def test_events_reach_the_client_at_once(spool: ReadSpool) -> None:
    """The proxy passes an event on while the stream goes on, and the call is on the books before it is seen."""
    release = asyncio.Event()

    async def script(_: Asked, write: Write) -> None:
        await write(SSE + chunked(event(b"{}")))
        await release.wait()
        await write(chunked(event(reply(1))))
        await asyncio.sleep(60)

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.post(address, data=call(1), headers=LEGACY) as answer:
            assert await answer.content.readuntil(b"\r\n\r\n") == event(b"{}")
            assert spool() == []
            release.set()
            assert await answer.content.readuntil(b"\r\n\r\n") == event(reply(1))
            assert len(spool()) == 1

    exchange(script, talk)


def test_an_upstream_that_breaks_off_breaks_the_client_off(spool: ReadSpool) -> None:
    """A torn answer is torn for the client, too: it must not take half an answer for a whole one."""

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        with pytest.raises(aiohttp.ClientError):
            async with client.post(address, data=call(1)) as answer:
                await answer.read()

    exchange(always(SSE + chunked(event(b"{}"))), talk)
    assert [span["error.type"] for span in spool()] == ["ConnectionError"]


def test_a_client_that_leaves_cancels_a_stateless_call(spool: ReadSpool) -> None:
    """Where there is no session, closing the stream is how a call is cancelled: the upstream sees it as well."""

    async def script(_: Asked, write: Write) -> None:
        await write(SSE + chunked(event(b"{}")))
        await asyncio.sleep(60)

    async def talk(client: aiohttp.ClientSession, address: str, upstream: Upstream) -> None:
        async with client.post(address, data=call(1)) as answer:
            await answer.content.readuntil(b"\r\n\r\n")
            answer.close()
        await until(lambda: upstream.hung_up == 1)
        await until(lambda: len(spool()) == 1)

    exchange(script, talk)
    assert [span["error.type"] for span in spool()] == ["CancelledError"]


def test_a_resumed_stream_ends_its_call(spool: ReadSpool) -> None:
    """In a session a lost stream is no cancellation: the answer may come on the stream that resumes it."""

    async def script(asked: Asked, write: Write) -> None:
        if asked.line.startswith("POST"):
            await write(SSE + chunked(b"id: e1\r\n" + event(b"{}")) + chunked(b""))
            return
        assert asked.header("last-event-id") == "e1"
        await write(SSE + chunked(event(reply(1))) + chunked(b""))

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.post(address, data=call(1), headers=LEGACY) as answer:
            await answer.read()
        assert spool() == []
        async with client.get(address, headers={**LEGACY, "Last-Event-ID": "e1"}) as answer:
            await answer.read()

    exchange(script, talk)
    assert [(span["aforo.session.id"], span["error.type"]) for span in spool()] == [("s1", None)]


@pytest.mark.parametrize("transport", ["resumed", "of 2024"])
def test_an_answer_that_somebody_listens_for_may_take_its_time(
    spool: ReadSpool, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """A call is not given up while its client listens on the stream that will bring the answer."""
    monkeypatch.setattr(proxy_exchange, "RESUME_TIMEOUT_S", 0.05)
    old = transport == "of 2024"
    called = asyncio.Event()

    async def script(asked: Asked, write: Write) -> None:
        if asked.line.startswith("POST"):
            accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
            await write(accepted if old else SSE + chunked(b"id: e1\r\n" + event(b"{}")) + chunked(b""))
            called.set()
            return
        named = b"event: endpoint\r\ndata: /messages/?session_id=old1\r\n\r\n"
        await write(SSE + chunked(named if old else event(b"{}")))
        await called.wait()
        await asyncio.sleep(0.4)
        await write(chunked(event(reply(1))) + chunked(b""))

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        path, headers = ("/messages/?session_id=old1", {}) if old else ("", LEGACY)
        resume = {} if old else {**LEGACY, "Last-Event-ID": "e1"}
        async with client.get(address, headers=resume) as stream:
            await stream.content.readuntil(b"\r\n\r\n")
            async with client.post(address + path, data=call(1), headers=headers) as answer:
                await answer.read()
            await stream.read()

    exchange(script, talk)
    assert [span["error.type"] for span in spool()] == [None]


def test_a_stream_that_is_never_resumed_ends_its_call(
    spool: ReadSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose stream was lost ends after a while, at the time it was lost."""
    monkeypatch.setattr(proxy_exchange, "RESUME_TIMEOUT_S", 0.05)

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.post(address, data=call(1), headers=LEGACY) as answer:
            await answer.read()
        await until(lambda: len(spool()) == 1)

    exchange(always(SSE + chunked(b"")), talk)
    assert [span["error.type"] for span in spool()] == ["ConnectionError"]


def test_deleting_a_session_ends_it(spool: ReadSpool) -> None:
    """`DELETE` passes; it cancels what is open and closes the session at the collector."""

    async def script(asked: Asked, write: Write) -> None:
        if asked.line.startswith("DELETE"):
            await write(plain(b""))
        elif b'"id": 1,' in asked.body:
            await write(plain(reply(1)))
        else:
            await write(SSE + chunked(b""))

    async def talk(client: aiohttp.ClientSession, address: str, upstream: Upstream) -> None:
        for number in (1, 2):
            async with client.post(address, data=call(number), headers=LEGACY) as answer:
                await answer.read()
        async with client.delete(address, headers=LEGACY) as answer:
            assert answer.status == 200
        assert upstream.asked[-1].header("mcp-session-id") == "s1"

    exchange(script, talk)
    assert [(span.name, span["error.type"]) for span in spool()] == [
        ("tools/call add", None),
        ("tools/call add", "CancelledError"),
        ("session_end", None),
    ]


def test_the_transport_of_2024_is_metered(spool: ReadSpool) -> None:
    """HTTP with SSE, where answers come on the one stream that named the session, is metered as well."""
    called = asyncio.Event()

    async def script(asked: Asked, write: Write) -> None:
        if asked.line.startswith("POST"):
            await write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted")
            called.set()
            return
        await write(SSE + chunked(b"event: endpoint\r\ndata: /messages/?session_id=old1\r\n\r\n"))
        await called.wait()
        await write(chunked(event(reply(1))))
        await asyncio.sleep(60)

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.get(address) as stream:
            await stream.content.readuntil(b"\r\n\r\n")
            async with client.post(address + "/messages/?session_id=old1", data=call(1)) as answer:
                assert answer.status == 202
            assert await stream.content.readuntil(b"\r\n\r\n") == event(reply(1))

    exchange(script, talk)
    assert [(span["aforo.session.id"], span["error.type"]) for span in spool()] == [("old1", None)]
