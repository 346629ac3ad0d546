"""What becomes of the messages of one connection: one span per call."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aforo_mcp.jsonrpc import Lines
from aforo_mcp.proxy_calls import CONNECTION_LOST, Connection, Parked, Payment
from aforo_sdk.plugin import Identity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.plugins.mcp.proxy.test_jsonrpc import cut
from tests.plugins.spool import Spans

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATED = Identity(product_type="MCP_SERVER")
Wire = Callable[[Any], bytes]


def call(request_id: object, tool: str = "add", meta: dict[str, Any] | None = None, **params: Any) -> bytes:
    """Write a `tools/call`."""
    inner = {"name": tool, "arguments": {}, **params, **({"_meta": meta} if meta else {})}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": inner}).encode()


def reply(request_id: object, **result: Any) -> bytes:
    """Write a result."""
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": {"content": [], **result}}).encode()


def refusal(request_id: object, code: int) -> bytes:
    """Write an error."""
    error = {"code": code, "message": "no"}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode()


@pytest.fixture
def connection(spool: Callable[[], Spans]) -> Connection:
    """Open a connection of a transport with a session."""
    return Connection(Payment(STATED), Parked(), "session-1")


@pytest.mark.parametrize(
    ("answer", "error_type"),
    [
        (reply(1), None),
        (reply(1, isError=False), None),
        (reply(1, isError="yes"), None),
        (reply(1, isError=True), "tool_error"),
        (refusal(1, -32603), "-32603"),
        (refusal(1, -32001), "-32001"),
        (refusal(1, -32800), "CancelledError"),
    ],
)
def test_an_answer_ends_its_call(
    spool: Callable[[], Spans], connection: Connection, answer: bytes, error_type: str | None
) -> None:
    """One request and its answer are one SERVER span, and the answer says how it ended."""
    connection.request(call(1))
    assert connection.waits
    connection.reply(answer)
    assert not connection.waits
    (span,) = spool()
    assert (span.name, span.kind, span["error.type"]) == ("tools/call add", 2, error_type)
    assert span.failed == (error_type is not None)
    assert (span["mcp.method.name"], span["gen_ai.operation.name"]) == ("tools/call", "execute_tool")
    assert (span["gen_ai.tool.name"], span["jsonrpc.request.id"]) == ("add", "1")
    assert (span["aforo.customer.id"], span["aforo.product.type"]) == ("acme", "MCP_SERVER")
    assert span["aforo.session.id"] == "session-1"
    assert span.end_ns >= span.start_ns


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "method": "tools/list"},
        {"id": 1, "method": "initialize", "params": {"name": "tools/call"}},
        {"id": 1, "method": "ping"},
        {"id": 1, "method": "server/discover"},
        {"id": 1, "method": "resources/read", "params": {"uri": "tools/call"}},
        {"method": "tools/call", "params": {"name": "add"}},
        {"id": None, "method": "tools/call", "params": {"name": "add"}},
        {"id": 1, "method": "tools/call", "params": {}},
        {"id": 1, "method": "tools/call", "params": [1]},
        {"id": 1, "result": {"method": "tools/call"}},
    ],
)
def test_nothing_else_bills(
    spool: Callable[[], Spans], connection: Connection, message: dict[str, Any]
) -> None:
    """Only a `tools/call` that names a tool and wants an answer is metered."""
    connection.request(json.dumps(message).encode())
    connection.reply(reply(1))
    connection.close(CONNECTION_LOST)
    assert spool() == []


def test_requests_of_the_server_are_no_answers(spool: Callable[[], Spans], connection: Connection) -> None:
    """A request of the server's own that has the id of an open call does not end it."""
    connection.request(call(1))
    connection.reply(b'{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}')
    assert connection.waits
    connection.reply(reply(1))
    assert len(spool()) == 1


def test_numbers_and_texts_are_different_ids(spool: Callable[[], Spans], connection: Connection) -> None:
    """The answer to `"1"` does not end the call 1."""
    connection.request(call(1, "one"))
    connection.request(call("1", "text"))
    connection.reply(reply("1"))
    connection.reply(reply(1, isError=True))
    assert [(span["gen_ai.tool.name"], span.failed) for span in spool()] == [("text", False), ("one", True)]


def test_a_batch_is_many_calls(spool: Callable[[], Spans], connection: Connection) -> None:
    """Every call of a batch has its own answer, in whatever order and company that comes."""
    connection.request(b"[" + b",".join(call(n, f"tool-{n}") for n in range(3)) + b', {"method":"ping"}]')
    connection.reply(b"[" + reply(2) + b"," + reply(0, isError=True) + b"]")
    connection.reply(reply(1))
    assert {span.name: span.failed for span in spool()} == {
        "tools/call tool-0": True,
        "tools/call tool-1": False,
        "tools/call tool-2": False,
    }


@pytest.mark.parametrize(
    ("reason", "error_type"), [("user", "CancelledError"), ("timed out after 5s", "TimeoutError")]
)
def test_a_cancelled_call_ends_there(
    spool: Callable[[], Spans], connection: Connection, reason: str, error_type: str
) -> None:
    """`notifications/cancelled` ends a call, and an answer that comes all the same changes nothing."""
    connection.request(call(1))
    params = {"requestId": 1, "reason": reason}
    connection.request(json.dumps({"method": "notifications/cancelled", "params": params}).encode())
    connection.reply(reply(1))
    (span,) = spool()
    assert span["error.type"] == error_type


def test_calls_end_with_their_connection(spool: Callable[[], Spans], connection: Connection) -> None:
    """What has no answer when the connection goes is written then, once, with the reason."""
    connection.request(call(1))
    connection.request(call(2))
    connection.close(CONNECTION_LOST)
    connection.close(CONNECTION_LOST)
    assert [span["error.type"] for span in spool()] == ["ConnectionError"] * 2


def test_rounds_that_ask_for_input_are_one_call(spool: Callable[[], Spans], connection: Connection) -> None:
    """A call that is sent again with what the server asked for goes on; its span begins with the first round."""
    connection.request(call(1, "ask"))
    connection.reply(reply(1, resultType="input_required", requestState="s1"))
    connection.request(call(2, "ask", requestState="s1", inputResponses={}))
    connection.reply(reply(2, resultType="input_required", requestState="s2"))
    assert spool() == []
    connection.request(call(3, "ask", requestState="s2", inputResponses={}))
    connection.reply(reply(3, resultType="complete"))
    (span,) = spool()
    assert (span["jsonrpc.request.id"], span["error.type"]) == ("1", None)


def test_rounds_of_stateless_requests_meet(spool: Callable[[], Spans]) -> None:
    """Rounds are one call even if every request has a connection of its own; another payer's is not taken."""
    parked = Parked()

    def exchange(request_id: int, customer: str, answer: bytes, **params: Any) -> None:
        one = Connection(Payment(STATED), parked)
        one.request(call(request_id, "ask", {"customerId": customer}, **params))
        one.reply(answer)

    exchange(1, "ann", reply(1, resultType="input_required", requestState="s"))
    exchange(1, "bob", reply(1, resultType="input_required", requestState="s"))
    exchange(2, "bob", reply(2), requestState="s", inputResponses={})
    exchange(2, "ann", reply(2, isError=True), requestState="s", inputResponses={})
    assert [(span["aforo.customer.id"], span.failed) for span in spool()] == [("bob", False), ("ann", True)]


def test_rounds_that_are_never_taken_up_are_cancelled(spool: Callable[[], Spans]) -> None:
    """A call whose client never comes back ends as cancelled."""
    parked = Parked()
    connection = Connection(Payment(STATED), parked)
    connection.request(call(1, "ask"))
    connection.reply(reply(1, resultType="input_required"))
    parked.close()
    (span,) = spool()
    assert span["error.type"] == "CancelledError"


def test_identity_is_taken_in_order(spool: Callable[[], Spans]) -> None:
    """Options win over `_meta`, `_meta` over its baggage, that over HTTP headers, those over the process."""
    connection = Connection(
        Payment(Identity(team_id="option", product_type="MCP_SERVER")), Parked(), "transport"
    )
    meta = {
        "teamId": "meta",
        "agent_id": "meta",
        "baggage": "aforo.agent.id=baggage,gen_ai.conversation.id=a%20talk;p=1, aforo.app.id=b",
        "traceparent": PARENT,
    }
    connection.request(call(1, meta=meta), {"baggage": "aforo.app.id=header,aforo.customer.id=globex"})
    connection.reply(reply(1))
    (span,) = spool()
    assert (span["aforo.team.id"], span["aforo.agent.id"], span["aforo.app.id"]) == ("option", "meta", "b")
    assert (span["aforo.customer.id"], span["aforo.session.id"]) == ("globex", "a talk")
    assert (span.trace, span.parent) == tuple(PARENT.split("-")[1:3])
    assert span["gen_ai.tool.call.id"] == "mcp:b7ad6b7169203331:1:add"


def test_clients_have_no_say_if_told_so(spool: Callable[[], Spans]) -> None:
    """Where `_meta` is not believed, a client cannot name another payer, but its trace is kept."""
    connection = Connection(Payment(STATED, trusts_meta=False), Parked())
    connection.request(
        call(1, meta={"customerId": "rich", "traceparent": PARENT}), {"baggage": "customerId=rich"}
    )
    connection.reply(reply(1))
    (span,) = spool()
    assert (span["aforo.customer.id"], span.parent) == ("acme", "b7ad6b7169203331")


def test_reported_cost_and_tokens_are_kept(spool: Callable[[], Spans], connection: Connection) -> None:
    """What a tool says that it used up stands on its span, to the last digit."""
    connection.request(call(1))
    reported = {"total_provider_cost": 0.0042, "input_tokens": 7}
    connection.reply(reply(1, structuredContent=reported))
    (span,) = spool()
    assert (span["aforo.provider_cost"], span["gen_ai.usage.input_tokens"]) == ("0.0042", 7)


def test_only_the_transports_own_session_is_closed(spool: Callable[[], Spans]) -> None:
    """The end of a transport closes the session it stood for, and none that a client has named."""
    named, own = (Connection(Payment(STATED), Parked(), session_id) for session_id in ("t1", "t2"))
    named.request(call(1, meta={"sessionId": "mine"}))
    named.reply(reply(1))
    own.request(call(1))
    own.reply(reply(1))
    named.end_session()
    own.end_session()
    ended = [span["aforo.session.id"] for span in spool() if span.name == "session_end"]
    assert ended == ["t2"]


def test_threads_do_not_lose_or_double_calls(spool: Callable[[], Spans], connection: Connection) -> None:
    """A thread that asks and threads that answer and cancel end every call exactly once."""
    for number in range(300):
        connection.request(call(number))
    cancel = [
        json.dumps({"method": "notifications/cancelled", "params": {"requestId": number}}).encode()
        for number in range(300)
    ]
    threads = [
        threading.Thread(target=lambda: [connection.reply(reply(number)) for number in range(300)]),
        threading.Thread(target=lambda: [connection.request(line) for line in cancel]),
        threading.Thread(target=lambda: connection.close(CONNECTION_LOST)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(span["jsonrpc.request.id"]) for span in spool()) == list(range(300))


NOISE = st.binary(max_size=60).filter(lambda noise: b"\n" not in noise)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NOISE, NOISE, st.booleans(), st.text(max_size=8)), max_size=6),
    st.lists(st.integers(min_value=0, max_value=4000)),
)
def test_splitting_changes_no_span(
    spool: Callable[[], Spans], script: list[tuple[bytes, bytes, bool, str]], places: list[int]
) -> None:
    """Calls among any noise, split anywhere, give the same spans as whole lines do."""
    before = len(spool())
    connection = Connection(Payment(STATED), Parked())
    up, down = Lines(lambda: True), Lines(lambda: connection.waits)
    for number, (noise, more, failed, tool) in enumerate(script):
        for chunk in cut(noise + b"\n" + call(number, tool) + b"\r\n", places):
            for line in up.feed(chunk):
                connection.request(line)
        for chunk in cut(more + b"\n" + reply(number, isError=failed) + b"\n", places):
            for line in down.feed(chunk):
                connection.reply(line)
    found = spool()[before:]
    assert [(span["gen_ai.tool.name"], span.failed) for span in found] == [
        (tool, failed) for _, _, failed, tool in script
    ]
