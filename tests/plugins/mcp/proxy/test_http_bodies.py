"""Bodies, headers and statuses that pass the HTTP proxy."""

import asyncio
import gzip
import io
import json

import aiohttp
import pytest
from aforo_mcp import proxy_http

from tests.plugins.mcp.proxy.conftest import ReadSpool
from tests.plugins.mcp.proxy.test_connection import call, refusal, reply
from tests.plugins.mcp.proxy.upstreams import Asked, Upstream, Write, plain
from tests.plugins.mcp.proxy.wires import always, exchange, proxied


def test_headers_are_kept_but_for_one_hop(spool: ReadSpool) -> None:
    """Authorization, cookies, repeated and unknown headers pass both ways; those of one hop do not, and a link
    is the proxy's own.
    """
    answer_headers = (
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "X-Own: yes",
        "Keep-Alive: timeout=5",
        "Connection: X-Hop",
    )

    async def talk(client: aiohttp.ClientSession, address: str, upstream: Upstream) -> None:
        headers = {
            "Authorization": "Bearer t" + "k" * 20_000,
            "X-Thing": "1",
            "X-Private": "2",
            "Connection": "x-private",
            "TE": "trailers",
            "User-Agent": "me",
            "Aforo-Mcp-Link": "0" * 32,
        }
        async with client.post(address + "/deep%2Fpath?q=%20a", data=call(1), headers=headers) as answer:
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert answer.headers["X-Own"] == "yes"
            assert "Keep-Alive" not in answer.headers
        asked = upstream.asked[0]
        assert asked.line == "POST /mcp/deep%2Fpath?q=%20a HTTP/1.1"
        assert asked.header("authorization") == headers["Authorization"]
        assert (asked.header("x-thing"), asked.header("user-agent")) == ("1", "me")
        assert (asked.header("x-private"), asked.header("te")) == (None, None)
        assert asked.header("host") == upstream.url.split("/")[2]
        assert asked.body == call(1)
        link = asked.header("aforo-mcp-link")
        assert link is not None
        assert link != headers["Aforo-Mcp-Link"]
        assert [name.lower() for name, _ in asked.headers].count("aforo-mcp-link") == 1
        async with client.post(address, data=b"{}", headers=headers):
            assert upstream.asked[1].header("aforo-mcp-link") is None

    exchange(always(plain(reply(1), "200 OK", *answer_headers)), talk)


def test_a_batch_is_metered_call_by_call(spool: ReadSpool) -> None:
    """Two calls in one body, answered in one body, are two spans."""
    body = b"[" + call(1, "a") + b"," + call(2, "b") + b"]"

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.post(address, data=body) as answer:
            await answer.read()

    exchange(always(plain(b"[" + refusal(2, -32602) + b"," + reply(1) + b"]")), talk)
    assert {span["gen_ai.tool.name"]: span["error.type"] for span in spool()} == {"a": None, "b": "-32602"}


@pytest.mark.parametrize(
    ("status", "error_type"), [("401 Unauthorized", "401"), ("504 Gateway Timeout", "TimeoutError")]
)
def test_refusals_of_http_pass_and_end_the_call(spool: ReadSpool, status: str, error_type: str) -> None:
    """An error status comes through with its body, and the call has failed."""

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.post(address, data=call(1)) as answer:
            assert (answer.status, await answer.read()) == (int(status[:3]), b"{}")
            assert answer.headers["WWW-Authenticate"] == "Bearer"

    exchange(always(plain(b"{}", status, "WWW-Authenticate: Bearer")), talk)
    assert [span["error.type"] for span in spool()] == [error_type]


def test_an_upstream_that_is_down_is_said(spool: ReadSpool) -> None:
    """Without an upstream the client gets 502 and a JSON-RPC error under its own id that says what happened."""

    async def talk() -> None:
        async with (
            proxied("http://127.0.0.1:9/mcp") as (client, address),
            client.post(address, data=call("x7")) as answer,
        ):
            assert answer.status == 502
            body = json.loads(await answer.read())
        assert body["id"] == "x7"
        assert "http://127.0.0.1:9" in body["error"]["message"]

    asyncio.run(talk())
    assert [span["error.type"] for span in spool()] == ["ConnectionError"]


def test_encoded_bodies_are_read(spool: ReadSpool) -> None:
    """A compressed request and a compressed answer pass as they are, and are metered."""
    answer_body = gzip.compress(reply(1, isError=True))

    async def talk(client: aiohttp.ClientSession, address: str, upstream: Upstream) -> None:
        headers = {"Content-Encoding": "gzip"}
        async with client.post(address, data=gzip.compress(call(1)), headers=headers) as answer:
            assert json.loads(await answer.read())["id"] == 1
        assert gzip.decompress(upstream.asked[0].body) == call(1)
        assert upstream.asked[0].header("accept-encoding") == "identity"

    exchange(always(plain(answer_body, "200 OK", "Content-Encoding: gzip")), talk)
    assert [span["error.type"] for span in spool()] == ["tool_error"]


def test_large_bodies_pass_whole(spool: ReadSpool) -> None:
    """Bodies of many megabytes come through byte by byte, and are metered."""
    text = "x" * 5_000_000

    async def talk(client: aiohttp.ClientSession, address: str, upstream: Upstream) -> None:
        body = io.BytesIO(call(1, arguments={"t": text}))
        async with client.post(address, data=body) as answer:
            assert await answer.read() == reply(1, content=[text])
        assert upstream.asked[0].body == call(1, arguments={"t": text})

    exchange(always(plain(reply(1, content=[text]))), talk)
    assert len(spool()) == 1


def test_redirects_stay_at_the_proxy(spool: ReadSpool) -> None:
    """A redirect within the upstream leads back through the proxy; one to elsewhere is left alone."""

    async def script(asked: Asked, write: Write) -> None:
        where = f"http://{asked.header('host')}/mcp/" if " /mcp " in asked.line else "http://elsewhere.test/"
        await write(plain(b"", "307 Temporary Redirect", f"Location: {where}"))

    async def talk(client: aiohttp.ClientSession, address: str, _: Upstream) -> None:
        async with client.get(address, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/mcp/"
        async with client.get(address + "/x", allow_redirects=False) as answer:
            assert answer.headers["Location"] == "http://elsewhere.test/"

    exchange(script, talk)


def test_rebound_names_are_refused(spool: ReadSpool) -> None:
    """On a loopback address the proxy answers to loopback names only: a web page cannot reach in by its own."""

    async def talk(client: aiohttp.ClientSession, address: str, upstream: Upstream) -> None:
        async with client.post(address, data=call(1), headers={"Host": "evil.test"}) as answer:
            assert answer.status == 403
        async with client.post(address, data=call(1), headers={"Host": "localhost:1"}) as answer:
            assert answer.status == 200
        assert len(upstream.asked) == 1

    exchange(always(plain(reply(1))), talk)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost.", True),
        ("0.0.0.0", False),
        ("a.b", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Names and addresses that can only be this machine are known."""
    assert proxy_http.is_loopback(host) is expected
