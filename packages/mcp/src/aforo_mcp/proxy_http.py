"""The proxy of a server that speaks streamable HTTP: every request goes to the upstream, every answer streams
back, and what passes is metered.

Paths, queries, bodies, statuses and headers stay what they are, except for what belongs to a single hop
(RFC 9110, 7.6.1), `Host`, and `Accept-Encoding`: answers come unencoded, so that they can be read in passing.
A request that calls a tool gets one header more, the link (`links`).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from aforo_mcp import calls, jsonrpc, links
from aforo_mcp.proxy_calls import CONNECTION_LOST
from aforo_mcp.proxy_exchange import Exchange, Sessions

CONNECT_TIMEOUT_S: Final = 30
SHUTDOWN_TIMEOUT_S: Final = 1.0
IDLE_TIMEOUT_S: Final = 4
"""Shorter than any server's own, so that a request is never written to a connection that is being closed."""
HEADER_SIZE_BYTES_MAX: Final = 65_536
PIECE_SIZE_BYTES: Final = 262_144

_ONE_HOP: Final = frozenset(
    "connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer "
    "transfer-encoding upgrade".split()
)
_NOT_SENT: Final = _ONE_HOP | {"host", "content-length", "expect", "accept-encoding", links.HEADER}
_UNREACHABLE_CODE: Final = -32000


class _ClientGone(Exception):
    """The client has closed its connection; nothing can be sent to it any more."""


class HttpProxy:
    """Passes the requests of any number of clients on to one upstream."""

    def __init__(self, upstream: URL, sessions: Sessions, *, loopback_only: bool) -> None:
        self._origin = str(upstream.origin())
        self._sessions = sessions
        self._loopback_only = loopback_only
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_TIMEOUT_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.CONTENT_TYPE, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
            max_line_size=HEADER_SIZE_BYTES_MAX,
            max_field_size=HEADER_SIZE_BYTES_MAX,
        )

    async def close(self) -> None:
        """End: what has no answer now will have none."""
        await self._client.close()
        self._sessions.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on and its answer back."""
        if self._loopback_only and not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
            # The upstream sees our own Host header, so that it cannot refuse a rebound name itself.
            return web.Response(status=403, text=f"aforo mcp-proxy: {request.host!r} is not this host.\n")
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
        headers = {name.lower(): value for name, value in request.headers.items()}
        exchange = Exchange(self._sessions, request.method, headers, request.query_string, body)
        try:
            return await self._pass_on(request, body, exchange)
        except asyncio.CancelledError:
            exchange.lost(calls.WAS_CANCELLED)
            raise
        except _ClientGone:
            exchange.lost(calls.WAS_CANCELLED)
            return web.Response()

    async def _pass_on(self, request: web.Request, body: bytearray, exchange: Exchange) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        try:
            async with self._client.request(
                request.method,
                URL(f"{self._origin}{_path(request)}", encoded=True),
                headers=_sent(request.headers, len(body), exchange.link),
                data=_data(body),
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(
                    status=answer.status, reason=answer.reason, headers=self._kept(answer.headers)
                )
                await _stream(request, answer, response, exchange)
                return response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if response is None:
                exchange.unreachable()
                return _unreachable(self._origin, error, body)
            exchange.lost(CONNECTION_LOST)
            if request.transport is not None:
                request.transport.abort()  # the client must not take what it has for the whole
            return response

    def _kept(self, headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
        kept = _without(headers, _ONE_HOP)
        location = kept.get(hdrs.LOCATION, "")
        if location.startswith(f"{self._origin}/"):  # or the client would go past the proxy
            kept[hdrs.LOCATION] = location.removeprefix(self._origin)
        return kept


def runner(proxy: HttpProxy) -> web.AppRunner:
    """What serves a proxy, once it is set up and has a site to listen at."""
    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    return web.AppRunner(
        application,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        max_line_size=HEADER_SIZE_BYTES_MAX,
        max_field_size=HEADER_SIZE_BYTES_MAX,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
    )


def is_loopback(host: str) -> bool:
    """Whether a name or an address can only be this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


async def _stream(
    request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse, exchange: Exchange
) -> None:
    """Pass an answer on piece by piece; with its last byte the client has it all, so calls end before that."""
    exchange.answered(
        answer.status,
        answer.headers.get(hdrs.CONTENT_TYPE, ""),
        answer.headers.get(hdrs.CONTENT_ENCODING, ""),
    )
    left = answer.content_length
    if left == 0:
        exchange.end()
    await _to_client(response.prepare(request))
    async for chunk in answer.content.iter_any():
        exchange.show(chunk)
        left = None if left is None else left - len(chunk)
        if left == 0:
            exchange.end()
        await _to_client(response.write(chunk))
    if left != 0:
        exchange.end()
    await _to_client(response.write_eof())


async def _to_client(writing: Awaitable[object]) -> None:
    try:
        await writing
    except (aiohttp.ClientError, OSError) as error:
        raise _ClientGone from error


def _path(request: web.Request) -> str:
    path = request.rel_url.raw_path_qs
    return path if path.startswith("/") else "/"


def _sent(headers: CIMultiDictProxy[str], body_size_bytes: int, link: str) -> CIMultiDict[str]:
    sent = _without(headers, _NOT_SENT)
    if link:
        sent[links.HEADER] = link
    sent[hdrs.ACCEPT_ENCODING] = "identity"
    if body_size_bytes or hdrs.CONTENT_LENGTH in headers:
        sent[hdrs.CONTENT_LENGTH] = str(body_size_bytes)
    return sent


def _without(headers: CIMultiDictProxy[str], names: frozenset[str]) -> CIMultiDict[str]:
    """Headers without these, and without those that `Connection` says are for one hop."""
    connection = ",".join(headers.getall(hdrs.CONNECTION, ()))
    left_out = names.union(name.strip().lower() for name in connection.split(","))
    return CIMultiDict([(name, value) for name, value in headers.items() if name.lower() not in left_out])


def _data(body: bytearray) -> bytes | AsyncIterator[bytes] | None:
    """A body to be sent; a large one in pieces, of which those that are sent are let go."""
    return _pieces(body) if len(body) > PIECE_SIZE_BYTES else bytes(body) or None


async def _pieces(body: bytearray) -> AsyncIterator[bytes]:
    while body:
        yield bytes(memoryview(body)[:PIECE_SIZE_BYTES])
        del body[:PIECE_SIZE_BYTES]


def _unreachable(origin: str, error: Exception, body: bytearray) -> web.Response:
    found = jsonrpc.messages(body)
    request_id = found[0].get("id") if len(found) == 1 else None
    message = (
        f"aforo mcp-proxy: the MCP server at {origin} gave no answer ({type(error).__name__}: {error}). "
        "Whether it has seen the request is not known; try again later."
    )
    refusal = {
        "jsonrpc": "2.0",
        "id": request_id if jsonrpc.is_id(request_id) else None,
        "error": {"code": _UNREACHABLE_CODE, "message": message},
    }
    return web.Response(status=502, text=json.dumps(refusal), content_type="application/json")
