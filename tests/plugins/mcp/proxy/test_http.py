"""`aforo mcp-proxy --upstream URL`: real clients and servers over HTTP."""

import asyncio
import contextlib
import signal
import subprocess
from pathlib import Path

import pytest

from tests.plugins.mcp.proxy.clients import ERAS, MODERN, connected
from tests.plugins.mcp.proxy.conftest import AFORO, Start, free_port
from tests.plugins.spool import ReadSpans, read


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("form", ["json", "sse"])
def test_a_real_client_sees_a_real_server(
    upstream: Start, proxy: Start, spans: ReadSpans, tmp_path: Path, era: str, form: str
) -> None:
    """A client and a server of the SDK, in every protocol and form of answer, notice nothing."""
    address = proxy(upstream(form), "--agent", "a1")

    async def talk() -> None:
        async with connected(address, era) as caller:
            assert "add" in await caller.tools()
            assert (await caller.call("add", {"a": 1, "b": 2}, {"teamId": "t1"})).text == "3"
            assert (await caller.call("fail")).failed
            assert (await caller.call("talk")).text == "done"
            assert (await caller.call("priced")).text == "dear"
            assert len((await caller.call("repeat", {"text": "x" * 400_000})).text) == 400_000

    asyncio.run(talk())
    found = spans()
    assert [span["gen_ai.tool.name"] for span in found] == ["add", "fail", "talk", "priced", "repeat"]
    assert {span["aforo.agent.id"] for span in found} == {"a1"}
    assert found[0]["aforo.team.id"] == "t1"
    assert found[1]["error.type"] == "tool_error"
    assert found[3]["aforo.provider_cost"] == "0.0042"
    sessions = {span["mcp.session.id"] for span in found}
    assert len(sessions) == 1
    assert (None in sessions) == (era != "legacy")
    assert {span["aforo.session.id"] for span in found} == sessions
    ends = [span["aforo.session.id"] for span in read(tmp_path / "spool") if span.name == "session_end"]
    assert ends == [session for session in sessions if session]


@pytest.mark.skipif(not MODERN, reason="the installed SDK has no calls that ask for input")
def test_rounds_of_input_are_one_call(upstream: Start, proxy: Start, spans: ReadSpans) -> None:
    """A tool that asks the user before it answers is called once, though the protocol knows no session."""
    address = proxy(upstream())

    async def talk() -> None:
        async with connected(address, "auto") as caller:
            assert (await caller.call("ask")).text == "thanks"

    asyncio.run(talk())
    assert [(span.name, span.failed) for span in spans()] == [("tools/call ask", False)]


@pytest.mark.parametrize("era", ERAS)
def test_many_clients_are_kept_apart(upstream: Start, proxy: Start, spans: ReadSpans, era: str) -> None:
    """Clients that use the same ids at once each get their own answers, and pay for their own calls."""
    address = proxy(upstream())

    async def client(number: int) -> None:
        async with connected(address, era) as caller:
            answers = await asyncio.gather(
                *[
                    caller.call(
                        "add", {"a": number, "b": other}, {"customerId": f"c{number}", "agentId": f"x{other}"}
                    )
                    for other in range(8)
                ]
            )
            assert [answer.text for answer in answers] == [str(number + other) for other in range(8)]

    async def talk() -> None:
        await asyncio.gather(*[client(number) for number in range(12)])

    asyncio.run(talk())
    found = spans()
    payers = sorted((span["aforo.customer.id"], span["aforo.agent.id"]) for span in found)
    assert payers == sorted((f"c{number}", f"x{other}") for number in range(12) for other in range(8))
    if era == "legacy":
        sessions = {(span["aforo.customer.id"], span["aforo.session.id"]) for span in found}
        assert len(sessions) == 12


def test_a_call_the_client_gives_up_is_cancelled(upstream: Start, proxy: Start, spans: ReadSpans) -> None:
    """A client that stops waiting cancels its call, by whatever means its protocol has."""
    address = proxy(upstream())

    async def talk(era: str) -> None:
        async with connected(address, era) as caller:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(caller.call("slow", {"seconds": 30}), 0.3)
            assert (await caller.call("add", {"a": 1, "b": 1})).text == "2"

    for era in ERAS:
        asyncio.run(talk(era))
    found = {(span["gen_ai.tool.name"], span["error.type"]) for span in spans()}
    assert found == {("slow", "CancelledError"), ("add", None)}
    assert len(spans()) == 2 * len(ERAS)


def test_a_stopped_proxy_cancels_what_is_open(
    upstream: Start,
    environment: dict[str, str],
    processes: list["subprocess.Popen[str]"],
    proxy: Start,
    spans: ReadSpans,
) -> None:
    """SIGTERM ends the proxy with exit code 0, and calls without an answer are on the books as cancelled."""
    address = proxy(upstream())

    async def talk() -> None:
        async with connected(address) as caller:
            waiting = asyncio.ensure_future(caller.call("slow", {"seconds": 60}))
            await asyncio.sleep(0.5)
            processes[-1].send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(processes[-1].wait, 20) == 0
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    with contextlib.suppress(ExceptionGroup, ConnectionError):  # how the SDK takes it differs by version
        asyncio.run(talk())
    assert [span["error.type"] for span in spans()] == ["CancelledError"]


def test_a_port_that_is_taken_is_said(environment: dict[str, str]) -> None:
    """Where it cannot listen, the proxy says so and starts nothing: exit code 1."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [
            "--upstream",
            f"http://127.0.0.1:{free_port()}",
            "--listen",
            f"127.0.0.1:{taken.getsockname()[1]}",
        ]
        done = subprocess.run(
            [AFORO, "mcp-proxy", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot listen" in done.stderr


def test_the_help_is_complete(environment: dict[str, str]) -> None:
    """Every option is explained in a sentence."""
    done = subprocess.run(
        [AFORO, "mcp-proxy", "--help"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    for option in "upstream listen customer team agent session product-type server-name ignore-meta".split():
        assert f"--{option}" in done.stdout
