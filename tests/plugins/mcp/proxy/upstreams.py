"""A scripted HTTP upstream: it keeps the bytes that came and answers with exactly the bytes it is told to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Asked:
    """One request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of this name, None for none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Write = Callable[[bytes], Awaitable[None]]
Script = Callable[[Asked, Write], Awaitable[None]]


@dataclass(slots=True)
class Upstream:
    """Where it listens, what it was asked, and how many of its connections the other side has closed."""

    url: str
    script: Script
    asked: list[Asked] = field(default_factory=list)
    hung_up: int = 0


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Upstream]:
    """Serve until the block ends; one request per connection."""
    upstream = Upstream("", script)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _read(reader)
            upstream.asked.append(asked)

            async def write(data: bytes) -> None:
                writer.write(data)
                await writer.drain()

            working = asyncio.ensure_future(upstream.script(asked, write))
            leaving = asyncio.ensure_future(reader.read(1))
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                upstream.hung_up += 1
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    async with server:
        host, port = server.sockets[0].getsockname()
        upstream.url = f"http://{host}:{port}/mcp"
        yield upstream


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)]
    asked = Asked(head[0], headers, b"")
    asked.body = await reader.readexactly(int(asked.header("Content-Length") or 0))
    return asked


def chunked(data: bytes) -> bytes:
    """Write one chunk of a body of unknown length; an empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def plain(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Write a whole JSON answer."""
    extra = "".join(f"{header}\r\n" for header in headers)
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


def event(data: bytes, newline: bytes = b"\r\n") -> bytes:
    """Write one server-sent event."""
    return b"event: message" + newline + b"data: " + data + newline + newline
