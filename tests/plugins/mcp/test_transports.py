"""Servers as processes of their own, real clients, over stdio and over streamable HTTP, in both eras."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aforo_sdk
import fastmcp
import mcp
import pytest
import uvicorn
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier

from tests.plugins.mcp.clients import connect
from tests.plugins.mcp.conftest import UNREACHABLE
from tests.plugins.mcp.servers import FASTMCP_KINDS, MODES, SDK_KINDS, application, build
from tests.plugins.spool import read

ROOT = Path(__file__).parents[3]
PROGRAM = ("-m", "tests.plugins.mcp.servers")
KINDS = [SDK_KINDS[-1], FASTMCP_KINDS[-1]]


def environment(spool: Path) -> dict[str, str]:
    """Return the environment of a server that meters into this spool."""
    return {
        **os.environ,
        "AFORO_ENDPOINT": UNREACHABLE,
        "AFORO_SPOOL_DIR": str(spool),
        "AFORO_CUSTOMER_ID": "acme",
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def serving(kind: str, spool: Path) -> Iterator[str]:
    """Run a server over HTTP; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, *PROGRAM, kind, "http", str(port)]
    server = subprocess.Popen(command, env=environment(spool), cwd=ROOT)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "the server has ended"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_stdio(tmp_path: Path, kind: str, mode: str) -> None:
    """Over stdio each call is one span, without any session, and nothing but the protocol is on stdout."""

    async def main() -> None:
        command = mcp.StdioServerParameters(
            command=sys.executable,
            args=[*PROGRAM, kind, "stdio"],
            env=environment(tmp_path),
            cwd=ROOT,
        )
        async with connect(command, mode) as call:
            assert (await call("add", {"a": 1}, {"customerId": "globex"})).content[0].text == "2"
            await call("fail")
            await asyncio.gather(*[call("wait", {"delay_s": 0.01}) for _ in range(10)])

    asyncio.run(main())
    added, failed, *waited = read(tmp_path)
    assert (added.name, added["aforo.customer.id"]) == ("tools/call add", "globex")
    assert (failed.failed, len(waited)) == (True, 10)
    assert {(span["mcp.session.id"], span["aforo.session.id"]) for span in waited} == {(None, None)}


@pytest.mark.parametrize("kind", KINDS)
def test_http(tmp_path: Path, kind: str) -> None:
    """Over HTTP the clients of the legacy protocol have a session each, those of the new one have none."""

    async def use(address: str, mode: str) -> None:
        async with connect(address, mode) as call:
            await asyncio.gather(*[call("wait", {"delay_s": 0.01}) for _ in range(10)])
            await call("add", {"a": 1}, {"sessionId": "own"})

    async def main(address: str) -> None:
        await asyncio.gather(*[use(address, mode) for mode in MODES for _ in range(3)])

    with serving(kind, tmp_path) as address:
        asyncio.run(main(address))
    seen = read(tmp_path)
    assert len(seen) == 33 * len(MODES)
    assert {span["aforo.session.id"] for span in seen.named("tools/call add")} == {"own"}
    waited = seen.named("tools/call wait")
    legacy = [span for span in waited if span["mcp.session.id"]]
    assert len(legacy) == 30
    assert all(span["aforo.session.id"] == span["mcp.session.id"] for span in legacy)
    sessions = [span["mcp.session.id"] for span in legacy]
    assert sorted(sessions.count(session) for session in set(sessions)) == [10, 10, 10]
    assert {span["aforo.session.id"] for span in waited if not span["mcp.session.id"]} <= {None}
    eras = {(span["mcp.protocol.version"] or "") >= "2026-07-28" for span in waited}
    assert eras == ({False, True} if len(MODES) == 2 else {False})


@pytest.mark.parametrize("kind", KINDS)
def test_cancelled_over_http(tmp_path: Path, kind: str) -> None:
    """A client that goes away in the midst of a call over HTTP leaves one span, and the server serves on."""

    async def main(address: str) -> None:
        async with connect(address) as call:
            waiting = asyncio.create_task(call("wait", {"delay_s": 60}))
            await asyncio.sleep(0.5)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await call("add", {"a": 1})

    with serving(kind, tmp_path) as address:
        asyncio.run(main(address))
    # Where the client does not say that it is gone, the server stops waiting when it is stopped.
    seen = read(tmp_path)
    assert sorted(span.name for span in seen) == ["tools/call add", "tools/call wait"]
    assert seen.one("tools/call wait")["error.type"] == "CancelledError"


def test_a_killed_server(tmp_path: Path) -> None:
    """What a client has an answer to is in the spool, even if the server is killed right after."""

    async def main(address: str) -> None:
        async with connect(address) as call:
            for _ in range(5):
                await call("add", {"a": 1})

    with serving(KINDS[0], tmp_path) as address:
        asyncio.run(main(address))
        assert len(read(tmp_path)) == 5


def test_access_tokens(tmp_path: Path) -> None:
    """The client that an access token was given to is the agent of its calls, and its claims name the payer."""
    aforo_sdk.init(endpoint=UNREACHABLE, spool_dir=str(tmp_path), customer_id="acme")
    tokens = {f"t-{n}": {"client_id": f"agent-{n}", "scopes": [], "customer_id": f"c-{n}"} for n in range(3)}
    server = build("fastmcp-both")
    server.auth = StaticTokenVerifier(tokens=tokens)

    async def main() -> None:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            door.listen()  # from here on a client waits for the server instead of being refused
            service = uvicorn.Server(uvicorn.Config(application(server), log_level="error"))
            running = asyncio.create_task(service.serve([door]))
            address = f"http://127.0.0.1:{door.getsockname()[1]}/mcp"
            await asyncio.gather(*[use(address, token) for token in tokens])
            service.should_exit = True
            await running

    async def use(address: str, token: str) -> None:
        async with fastmcp.Client(address, auth=token) as client:
            for _ in range(3):
                await client.call_tool("add", {"a": 1})

    asyncio.run(main())
    payers = sorted((span["aforo.agent.id"], span["aforo.customer.id"]) for span in read(tmp_path))
    assert payers == sorted((f"agent-{n}", f"c-{n}") for n in range(3) for _ in range(3))
