"""A proxy and a metered server behind it tell the same of a call without any trace: one call, one id."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from aforo_mcp import links
from aforo_mcp.links import Link, place_of
from aforo_mcp.proxy_calls import Connection, Parked, Payment
from aforo_mcp.requests import request_of
from aforo_mcp.spans import close_call, open_call
from aforo_mcp.terms import Terms
from aforo_sdk.plugin import Identity
from hypothesis import given
from hypothesis import strategies as st

from tests.plugins.mcp.proxy.clients import ERAS, Caller, connected
from tests.plugins.mcp.proxy.conftest import AFORO, ReadSpool, Start
from tests.plugins.mcp.proxy.test_connection import STATED, call, reply
from tests.plugins.mcp.servers import KINDS
from tests.plugins.mcp.test_transports import PROGRAM, ROOT, serving
from tests.plugins.spool import ReadSpans, Seen

CALLS = 8
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PARENT = (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
IDS = st.one_of(st.integers(), st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False))


class Context:
    """A framework's request context: over HTTP with these headers, else over stdio."""

    def __init__(self, request_id: object, headers: dict[str, str] | None) -> None:
        self.request_id = request_id
        self.session = self
        self.params = {"name": "add"}
        self.request = None
        if headers is not None:
            self.request = type("Http", (), {"headers": headers, "scope": {}})()


async def several(caller: Caller) -> None:
    """Call a tool many times at once, and once again."""
    await asyncio.gather(*[caller.call("wait", {"delay_s": 0.2}) for _ in range(CALLS)])
    await caller.call("wait", {"delay_s": 0})


def check_pairs(spans: list[Seen]) -> None:
    """Every call is told twice, in one trace of its own, under one id of its own."""
    told = defaultdict(list)
    for span in spans:
        told[span.trace, span["gen_ai.tool.call.id"]].append(span)
    assert [len(pair) for pair in told.values()] == [2] * (CALLS + 1)
    assert len({trace for trace, _ in told}) == len({call_id for _, call_id in told}) == CALLS + 1
    for one, other in told.values():
        assert one.start_ns <= other.end_ns
        assert other.start_ns <= one.end_ns
        assert (one.parent, other.parent) == ("", "")
        assert one["jsonrpc.request.id"] == other["jsonrpc.request.id"]
        assert one["aforo.session.id"] == other["aforo.session.id"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_is_linked(environment: dict[str, str], spans: ReadSpans, kind: str, era: str) -> None:
    """Over stdio both name trace, call and session alike, with every way to meter a server."""
    command = [AFORO, "mcp-proxy", "--", sys.executable, *PROGRAM, kind, "stdio"]

    async def talk() -> None:
        async with connected(command, era, environment | {"PYTHONPATH": str(ROOT)}) as caller:
            await several(caller)

    asyncio.run(talk())
    check_pairs(spans())
    (session,) = {span["aforo.session.id"] for span in spans()}
    assert session.startswith("mcp-stdio-")


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]])
def test_requests_over_http_are_linked(tmp_path: Path, proxy: Start, spans: ReadSpans, kind: str) -> None:
    """Over HTTP both name trace, call and session alike, in every era of the protocol."""
    with serving(kind, tmp_path / "spool") as address:
        entrance = proxy(address)

        async def talk(era: str) -> None:
            async with connected(entrance, era) as caller:
                await several(caller)

        before = 0
        for era in ERAS:
            asyncio.run(talk(era))
            check_pairs(spans()[before:])
            before = len(spans())


def test_clients_that_share_a_span_have_calls_of_their_own(
    tmp_path: Path, proxy: Start, spans: ReadSpans
) -> None:
    """Clients that all call under one span and count from one make calls that are told apart."""
    with serving("fastmcp-both", tmp_path / "spool") as address:
        entrance = proxy(address)

        async def client() -> None:
            async with connected(entrance, ERAS[0]) as caller:
                await caller.call("wait", {"delay_s": 0.2}, {"traceparent": TRACEPARENT})

        async def talk() -> None:
            await asyncio.gather(*[client() for _ in range(CALLS)])

        asyncio.run(talk())
    ids = [span["gen_ai.tool.call.id"] for span in spans()]
    assert {span.trace for span in spans()} == {TRACEPARENT.split("-")[1]}
    assert sorted(ids.count(call_id) for call_id in set(ids)) == [2] * CALLS


def test_a_link_ends_at_the_server() -> None:
    """What a server starts does not inherit the link, or it would pass for what is behind the proxy."""
    code = (
        "import os, subprocess, sys, aforo_mcp.links as links\n"
        "print(links.inherited.text, os.environ.get(links.ENVIRONMENT))\n"
    )
    link = links.for_child()
    environment = os.environ | {links.ENVIRONMENT: link.text}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.split() == [link.text.encode(), b"None"]


@given(request_id=IDS, is_of_one_request=st.booleans(), has_parent=st.booleans())
def test_both_sides_agree(request_id: Any, is_of_one_request: bool, has_parent: bool) -> None:
    """A link and a request's id give one place; another link or another id gives another one."""
    link = Link(links.for_child().text, is_of_one_request)
    parent = PARENT if has_parent else None
    place = place_of(parent, link, request_id, "add")
    assert place == place_of(parent, link, request_id, "add")
    assert 0 < place.trace_id < 1 << 128
    assert (place.trace_id, place.parent_id) == (parent or (place.trace_id, 0))
    assert place.call_id != place_of(parent, link, f"{request_id}0", "add").call_id
    assert place.call_id != place_of(parent, link, request_id, "sub").call_id
    other = place_of(parent, links.for_request(), request_id, "add")
    assert other.call_id != place.call_id
    assert (other.trace_id == place.trace_id) is has_parent


def test_no_place_without_a_word() -> None:
    """A call that nothing is said of stands nowhere yet, and an id that is too long is none."""
    assert place_of(None, None, 1, "add") == (0, 0, "")
    assert place_of(None, links.for_request(), None, "add") == (0, 0, "")
    assert place_of(PARENT, None, None, "add") == (*PARENT, "")
    assert place_of(PARENT, None, 5, "add") == (*PARENT, "mcp:b7ad6b7169203331:5:add")
    assert place_of(PARENT, None, "x" * 300, "add") == (*PARENT, "")


@given(value=st.one_of(st.none(), st.text(), st.binary(), st.integers()))
def test_any_header(value: Any) -> None:
    """What is no link of ours is none."""
    link = links.of_header(value)
    assert link is None or (len(link.text) == 32 and int(link.text, 16) >= 0)


@pytest.mark.parametrize("is_forged", [True, False])
def test_a_client_cannot_hide_its_calls(spool: ReadSpool, is_forged: bool) -> None:
    """Calls that a process serves at once never have one id, whatever their headers say; later ones may."""
    header = {links.HEADER: "0" * 32} if is_forged else {"traceparent": TRACEPARENT}

    def opened() -> Any:
        return open_call("add", request_of(Context(1, header)), Terms(Identity()))

    first, second = opened(), opened()
    close_call(second, {})
    close_call(first, {})
    close_call(opened(), {})
    ids = [span["gen_ai.tool.call.id"] for span in spool()]
    assert ids[0] is None
    assert ids[1] == ids[2] != None  # noqa: E711 - both are there


def test_a_header_says_nothing_over_stdio(spool: ReadSpool) -> None:
    """A server that no proxy has started, and that no header reaches, stands in a trace of its own."""
    close_call(open_call("add", request_of(Context(1, None)), Terms(Identity())), {})
    (span,) = spool()
    assert (span["gen_ai.tool.call.id"], span["aforo.session.id"]) == (None, None)


def test_ids_in_use_are_not_given_twice(spool: ReadSpool) -> None:
    """A client that uses an id for two calls at once, as a number or a text, makes two calls."""
    connection = Connection(Payment(STATED), Parked(), "session-1", b"", links.for_child())
    for request_id in (1, 1, "1"):
        connection.request(call(request_id))
    for request_id in (1, 1, "1"):
        connection.reply(reply(request_id))
    connection.request(call(1))
    connection.reply(reply(1))
    ids = [span["gen_ai.tool.call.id"] for span in spool()]
    assert (ids[1:3], ids[0]) == ([None, None], ids[3])
