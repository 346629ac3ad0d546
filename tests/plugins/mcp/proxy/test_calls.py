"""What a call says about itself, in whatever shape it comes."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from aforo_mcp import calls
from hypothesis import given
from hypothesis import strategies as st

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Refused(Exception):
    """What an MCP SDK raises: the error object stands on it."""

    def __init__(self, code: Any) -> None:
        super().__init__("refused")
        self.error = SimpleNamespace(code=code, message="refused")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"content": []}, "SUCCESS"),
        ({"content": [], "isError": "yes"}, "SUCCESS"),
        ({"content": [], "is_error": True}, "ERROR"),
        (SimpleNamespace(isError=True), "ERROR"),
        (SimpleNamespace(is_error=False), "SUCCESS"),
        ({"code": -32602, "message": "bad"}, "ERROR"),
        ({"code": -32001, "message": "late"}, "TIMEOUT"),
        ({"code": 0, "message": "Request cancelled"}, "CANCELLED"),
        (ValueError("no"), "ERROR"),
        (TimeoutError(), "TIMEOUT"),
        (Refused(-32001), "TIMEOUT"),
        (Refused(-32603), "ERROR"),
        (Refused("x"), "ERROR"),
        (asyncio.CancelledError(), "CANCELLED"),
        (KeyboardInterrupt(), "CANCELLED"),
        (SystemExit(-32001), "CANCELLED"),
    ],
)
def test_status(answer: object, status: str) -> None:
    """Results, error objects and exceptions have the status that the existing clients give them."""
    assert calls.status_of(answer) == status


PART = st.sampled_from(
    [
        None,
        {},
        {"result": "3"},
        {"usage": {"input_tokens": 3}},
        {"total_provider_cost": "0.01"},
        {"prompt_tokens": 2},
    ]
)
KIND = st.sampled_from(["complete", "input_required", None])
OPTIONAL = {
    "content": PART,
    "structuredContent": PART,
    "structured_content": PART,
    "_meta": PART,
    "meta": PART,
    "resultType": KIND,
    "result_type": KIND,
    "code": st.just(-32001),
    "input_required": st.just({"resultType": "input_required"}),
}


@given(
    st.fixed_dictionaries({"isError": st.booleans()}, optional=OPTIONAL)
    | st.fixed_dictionaries({"is_error": st.booleans()}, optional=OPTIONAL)
)
def test_what_is_plain_says_nothing(fields: dict[str, Any]) -> None:
    """A result that is taken for plain is a success that asks for nothing, and reports nothing."""
    for result in (fields, SimpleNamespace(**fields)):
        if calls.is_plain(result):
            assert calls.status_of(result) == "SUCCESS"
            assert calls.asked_by(result) is result
            assert not calls.is_interim(result)
            assert calls.cost_of(result) == calls.NOTHING


@pytest.mark.parametrize("content", [None, {}, {"result": "3"}, {"customers": 3}])
def test_most_results_are_plain(content: object) -> None:
    """What servers make of a function that returns text, or an object of the program's, is plain in any form."""
    assert calls.is_plain({"content": [], "isError": False, "structuredContent": content})
    meta = {"fastmcp": {"wrap_result": True}}
    assert calls.is_plain(SimpleNamespace(content=[], is_error=False, structured_content=content, meta=meta))
    assert not calls.is_plain(ValueError())
    assert not calls.is_plain({"isError": False, "resultType": "input_required"})


def test_a_wrapped_timeout_is_a_timeout() -> None:
    """An exception that a framework raised from a timeout is one."""
    error = ValueError("tool failed")
    error.__cause__ = TimeoutError()
    assert calls.status_of(error) == "TIMEOUT"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        7,
    ],
)
def test_broken_parents_are_none(header: object) -> None:
    """What is no `traceparent` names no parent."""
    assert calls.parent_of({"traceparent": header}) is None


def test_parents_are_taken_sampled_or_not() -> None:
    """A bill does not depend on the caller's sampling, nor on a later version of the header."""
    expected = int(TRACE, 16), int(SPAN, 16)
    for header in (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-01-more"):
        assert calls.parent_of({"traceparent": header}) == expected


def test_identity_stands_under_many_names() -> None:
    """The names of existing clients are known, numbers count as text, and nonsense as nothing."""
    found = calls.identity_of(
        {
            "customer_id": 42,
            "agentId": " a ",
            "teamId": "",
            "appId": "x" * 1000,
            "conversation_id": ["no"],
            "baggage": "aforo.team.id=t%2Fx, broken, gen_ai.conversation.id=talk+1;ttl=9,aforo.product.type=API",
        }
    )
    assert (found.customer_id, found.agent_id, found.team_id) == ("42", "a", "t/x")
    assert (found.app_id, found.session_id, found.product_type) == (None, "talk 1", None)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("0.0042", "0.0042"),
        (0.25, "0.25"),
        (1e-7, "0.0000001"),
        (Decimal("0.10"), "0.10"),
        (3, "3"),
        ("-0", "0"),
        ("-1", ""),
        ("NaN", ""),
        (float("inf"), ""),
        ("1e999999", ""),
        ("1" * 50, ""),
        (True, ""),
        (None, ""),
        ("dear", ""),
    ],
)
def test_amounts(value: object, amount: str) -> None:
    """An amount is plain decimal text of zero or more; nothing else is one."""
    assert calls.amount_of(value) == amount


@given(ANYTHING)
def test_nothing_raises(value: object) -> None:
    """Whatever shape comes, it is read without an error."""
    meta = {
        "traceparent": value,
        "baggage": value,
        "customerId": value,
        "total_provider_cost": value,
        "usage": value,
    }
    for given_value in (value, meta, {"_meta": value, "structuredContent": meta}):
        calls.identity_of(given_value)
        calls.parent_of(given_value)
        assert isinstance(calls.cost_of(given_value).attributes, bytes)
        assert calls.status_of(given_value) in ("SUCCESS", "ERROR", "TIMEOUT")
        assert calls.is_interim(given_value) is False
