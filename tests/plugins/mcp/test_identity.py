"""Who pays: arguments, `_meta`, baggage, the access token, the context, the legacy session; never a guess."""

import asyncio
import logging
from typing import Any, ClassVar

import aforo_sdk
import pytest
from aforo_collector.dialects.values import TEXT_LENGTH_MAX
from aforo_mcp import AforoMiddleware, metered_tool
from aforo_mcp.calls import session_of
from aforo_mcp.proxy_calls import Parked, Payment
from aforo_mcp.proxy_exchange import Sessions
from aforo_mcp.requests import request_of
from aforo_mcp.terms import Terms
from aforo_sdk import runtime
from aforo_sdk.plugin import Identity
from hypothesis import given
from hypothesis import strategies as st

from tests.plugins.mcp.clients import connect
from tests.plugins.mcp.servers import KINDS, build
from tests.plugins.spool import ReadSpans, Seen

PAYER = ("aforo.customer.id", "aforo.team.id", "aforo.agent.id", "aforo.session.id")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def payer(span: Seen) -> list[Any]:
    """Return who a span is billed to: customer, team, agent, session."""
    return [span[key] for key in PAYER]


def call(kind: str, meta: dict[str, Any] | None = None, **terms: Any) -> None:
    """Call one tool, with this `_meta`, on a server that is told these terms."""

    async def main() -> None:
        async with connect(build(kind, **terms)) as call_tool:
            await call_tool("add", {"a": 1}, meta)

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_meta_names_the_payer(spans: ReadSpans, kind: str) -> None:
    """`_meta` wins over the process, under the names that clients use, and its baggage fills what is left."""
    call(
        kind, {"customer_id": "c-1", "agentId": "a-1", "baggage": "aforo.team.id=t%201,aforo.session.id=s-1"}
    )
    call(kind, {"aforo.customer.id": "c-2", "gen_ai.conversation.id": "thread"})
    first, second = spans()
    assert payer(first) == ["c-1", "t 1", "a-1", "s-1"]
    assert payer(second) == ["c-2", None, None, "thread"]


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_win(spans: ReadSpans, kind: str) -> None:
    """What the server is told wins over `_meta`, which fills the rest; an untrusted `_meta` says nothing."""
    meta = {"customerId": "thief", "sessionId": "s-1"}
    call(kind, meta, customer_id="globex", team_id="t-1", product_type="AI_AGENT")
    call(kind, meta, trust_meta=False)
    told, untrusted = spans()
    assert (payer(told), told["aforo.product.type"]) == (["globex", "t-1", None, "s-1"], "AI_AGENT")
    assert payer(untrusted) == ["acme", None, None, None]


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_trace(spans: ReadSpans, kind: str) -> None:
    """The span hangs under the caller's span that `_meta.traceparent` names, and has an id for both sides."""
    call(kind, {"traceparent": TRACEPARENT})
    (span,) = spans()
    assert (span.trace, span.parent) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert span["gen_ai.tool.call.id"] == f"mcp:b7ad6b7169203331:{span['jsonrpc.request.id']}:add"


def test_a_decorator_knows_better_than_the_middleware(spans: ReadSpans) -> None:
    """Where both name a payer, the one of the tool pays, field by field."""

    async def main() -> None:
        server = build("fastmcp-middleware", customer_id="globex", team_id="t-1")
        server.tool()(metered_tool("own", customer_id="umbrella")(own))
        async with connect(server) as call_tool:
            await call_tool("own")

    asyncio.run(main())
    (span,) = spans()
    assert payer(span) == ["umbrella", "t-1", None, None]


def own() -> str:
    """A tool with a payer of its own; what it meters itself is for the same payer."""
    runtime_identity = runtime.current_identity()
    assert (runtime_identity.customer_id, runtime_identity.product_type) == ("umbrella", "MCP_SERVER")
    return "ok"


def test_what_a_tool_meters_is_for_its_payer(spans: ReadSpans) -> None:
    """Spans made inside a tool carry the request's payer, those made after it do not."""

    @aforo_sdk.step
    def look() -> None:
        """A step inside."""

    @metered_tool
    def search() -> None:
        look()

    meta = {"customerId": "globex", "sessionId": "s-1"}

    async def main() -> None:
        server = build("fastmcp-middleware")
        server.tool()(search)
        async with connect(server) as call_tool:
            await call_tool("search", {}, meta)
        look()

    asyncio.run(main())
    inside, tool, after = spans()
    assert payer(inside) == payer(tool) == ["globex", None, None, "s-1"]
    assert payer(after) == ["acme", None, None, None]


def test_context_of_the_process(spans: ReadSpans) -> None:
    """A session of ours around the call of a decorated function names the payer."""

    @metered_tool
    def search() -> None:
        """A tool."""

    with aforo_sdk.session("s-1", customer_id="globex", product_type="AI_AGENT"):
        search()
    span = spans().one("tools/call search")
    assert (payer(span), span["aforo.product.type"]) == (["globex", None, None, "s-1"], "AI_AGENT")


@pytest.mark.parametrize("stated", ["AGENTIC_API", "AI_AGENT", None])
def test_product_type(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch, stated: str | None) -> None:
    """A tool belongs to an MCP server, unless the process says that it sells something else."""
    if stated:
        monkeypatch.setenv("AFORO_PRODUCT_TYPE", stated)
    aforo_sdk.init()
    assert Terms(Identity()).payer(None).product_type == (stated or "MCP_SERVER")


class Token:
    """An access token as the SDKs have it."""

    client_id = "agent-7"
    subject = "ann"
    claims: ClassVar = {"aforo.customer.id": "globex", "session_id": "of the identity provider"}


class Anything:
    """An object with the given attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__ = fields


def http(version: str | None, **headers: str) -> Anything:
    """Return a request context over HTTP, as the SDK of this protocol version makes it."""
    user = Anything(access_token=Token())
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Anything(headers=named, scope={"user": user})
    return Anything(session=object(), request_id=1, meta=None, request=request, protocol_version=version)


def test_access_token(spans: ReadSpans) -> None:
    """The client of the access token is the agent, its claims may name the customer, no session comes of it."""
    terms = Terms(Identity())
    found = terms.payer(request_of(http(None)))
    assert found == Identity("globex", None, "agent-7", None, None, "MCP_SERVER")


@pytest.mark.parametrize(
    ("version", "session"), [(None, "h-1"), ("2025-11-25", "h-1"), ("2026-07-28", None), ("2027-01-01", None)]
)
def test_legacy_session(spans: ReadSpans, version: str | None, session: str | None) -> None:
    """`Mcp-Session-Id` is the session of the legacy protocol, if nobody names one; later it means nothing."""
    request = request_of(http(version, mcp_session_id="h-1"))
    assert Terms(Identity()).payer(request).session_id == session
    assert Terms(Identity(session_id="s-1")).payer(request).session_id == "s-1"


def test_a_session_whose_id_is_too_long_for_one(spans: ReadSpans) -> None:
    """A JWT may be the id of a session: proxy and server bill it alike, under a name that the collector takes."""
    token, other = "eyJ" + "x" * 400, "eyJ" + "x" * 399 + "y"
    served = Terms(Identity()).payer(request_of(http("2025-11-25", mcp_session_id=token))).session_id
    connection = Sessions(Payment(Identity()), Parked()).named(token)
    connection.request(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}')
    connection.reply(b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}')
    (span,) = spans()
    assert served == span["aforo.session.id"] != session_of(other)
    assert len(served or "") in range(1, TEXT_LENGTH_MAX + 1)


@pytest.mark.parametrize("length", [255, 256])
def test_the_longest_id(spans: ReadSpans, length: int) -> None:
    """What the collector would refuse is not taken for a name, wherever a request says it."""
    meta = {"customerId": "c" * length, "sessionId": "s" * length}
    told = request_of(Anything(session=None, request_id=1, meta=meta, request=None))
    found = Terms(Identity()).payer(told)
    taken = ("c" * length, "s" * length) if length <= TEXT_LENGTH_MAX else ("acme", None)
    assert (found.customer_id, found.session_id) == taken


def test_no_customer(spans: ReadSpans, caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody names a customer the span is written without one, and one warning says what to do."""
    runtime._arguments.pop("customer_id")
    aforo_sdk.init()
    with caplog.at_level(logging.WARNING):
        call(KINDS[-1])
        call(KINDS[0])
    assert [payer(span) for span in spans()] == [[None] * 4] * 2
    (warning,) = [record.message for record in caplog.records if "names no customer" in record.message]
    assert "AFORO_CUSTOMER_ID" in warning


@given(
    st.dictionaries(
        st.sampled_from(["customerId", "aforo.session.id", "baggage", "traceparent", "x"]),
        st.none() | st.integers() | st.text() | st.lists(st.text()),
    )
)
def test_any_meta(meta: dict[str, Any]) -> None:
    """No `_meta` can break a request: what is no name is no payer."""
    request = request_of(Anything(session=None, request_id=1, meta=meta))
    assert request is not None
    found = Terms(Identity("acme")).payer(request)
    assert found.customer_id == "acme"
    assert request.told is None or request.told.parent is None or request.told.parent[0] > 0


def test_a_middleware_takes_the_whole_identity() -> None:
    """Every field of an identity can be given to the middleware and to the decorator."""
    stated: Any = dict(
        zip(("customer_id", "session_id", "agent_id", "team_id", "app_id"), "abcde", strict=True)
    )
    expected = Identity("a", "d", "c", "e", "b", "API")
    assert AforoMiddleware(**stated, product_type="API")._terms.identity == expected
