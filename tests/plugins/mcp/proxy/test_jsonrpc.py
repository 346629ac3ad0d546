"""Lines, events and messages out of bytes that are split anywhere."""

import gzip
import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from aforo_mcp.jsonrpc import LARGE_BYTES, Events, Lines, concerns_calls, inflater, messages
from aforo_mcp.skim import skim
from hypothesis import given
from hypothesis import strategies as st


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Split bytes at these places, wherever they fall."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(min_value=0, max_value=4000)))
def test_lines_do_not_depend_on_chunks(parts: list[bytes], places: list[int]) -> None:
    """However a stream is split, its lines are the same, and what has no newline yet is no line."""
    data = b"\n".join(parts)
    lines = Lines(lambda: True)
    found = [bytes(line) for chunk in cut(data, places) for line in lines.feed(chunk)]
    assert found == data.split(b"\n")[:-1]


@given(st.lists(st.integers(min_value=0, max_value=4000)))
def test_unwanted_lines_are_not_held(places: list[int]) -> None:
    """A line that nobody wanted where it began is skipped to its end, even if somebody wants the next."""
    wanted = False
    lines = Lines(lambda: wanted)
    found = [line for chunk in cut(b"x" * 1000, places) for line in lines.feed(chunk)]
    wanted = True
    found += [line for chunk in cut(b"yz\nnext\n", places) for line in lines.feed(chunk)]
    assert [bytes(line) for line in found] == [b"next"]


TEXT = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=30)


@given(
    st.lists(st.tuples(st.lists(TEXT, min_size=1, max_size=3), st.sampled_from(["\n", "\r\n", "\r"]))),
    st.lists(st.integers(min_value=0, max_value=4000)),
)
def test_events_do_not_depend_on_chunks(written: list[tuple[list[str], str]], places: list[int]) -> None:
    """However a stream is split, and whichever newlines it uses, its events carry the same data."""
    stream = ": a comment\n\n"
    for lines, newline in written:
        stream += f"event: message{newline}id: 7{newline}"
        stream += "".join(f"data: {line}{newline}" for line in lines) + newline
    events = Events()
    found = [bytes(event) for chunk in cut(stream.encode(), places) for event in events.feed(chunk)]
    assert found == ["\n".join(lines).encode() for lines, _ in written]


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
"""What Python's own parser takes bytes in, and so do servers that are built on it."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, st.sampled_from(["tools/call", "notifications/cancelled"]), st.data())
def test_no_spelling_of_a_call_is_missed(params: Any, method: str, data: st.DataObject) -> None:
    """A call is seen however JSON spells its name: with escapes for any of its letters, in any
    encoding, in a batch, or bare.
    """
    spelled = "".join(
        data.draw(st.sampled_from([letter, f"\\u{ord(letter):04x}", *(["\\/"] if letter == "/" else [])]))
        for letter in method
    )
    raw = f'[{{"params":{json.dumps(params)},"id":1,"method":"{spelled}"}}]'.encode()
    encoded = raw.decode().encode(data.draw(st.sampled_from(ENCODINGS)))
    assert concerns_calls(encoded)
    assert messages(encoded)[0]["method"] == method


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b'"tools/call"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id":1}{"id":2}',
        b"[1,null]",
    ],
)
def test_what_is_no_message_yields_none(raw: bytes) -> None:
    """Bytes that are no JSON-RPC are no messages, and no error."""
    assert messages(raw) == []


@given(
    st.dictionaries(st.text(), JSON, max_size=4)
    | st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=3),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_skimming_finds_what_parsing_finds(message: Any, indent: int | None, ascii_only: bool) -> None:
    """What is small is read in a large message as it is in a small one, however it is written."""
    raw = json.dumps(message, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert skim(raw, json.loads) == json.loads(raw)


@given(JSON, st.integers(min_value=1, max_value=3))
def test_large_parts_are_left_out(small: Any, times: int) -> None:
    """A large part of a message does not hide what stands before and after it, at any level."""
    large = ['\\ " }]' * 40_000, {"[": [1.5, "{"] * 40_000}][times % 2]
    result = {"content": [large] * times, "structuredContent": {"x": small, "y": large}, "isError": True}
    raw = json.dumps({"jsonrpc": "2.0", "result": result, "id": 7}).encode() + b" " * LARGE_BYTES
    (message,) = messages(raw)
    assert message["id"] == 7
    assert message["result"] == {
        "content": None,
        "structuredContent": {"x": small, "y": None},
        "isError": True,
    }


@given(st.data())
def test_torn_json_is_an_error(data: st.DataObject) -> None:
    """A message that ends too early is none."""
    raw = b'{"a": {"b": ["c", {"d": "e"}], "f": 1}, "g": null}'
    with pytest.raises(ValueError, match=r"ends|byte|column"):
        skim(raw[: data.draw(st.integers(min_value=0, max_value=len(raw) - 1))], json.loads)


def test_json_beyond_the_standard_is_read() -> None:
    """NaN and lone surrogates, which servers in Python take, hide no call."""
    (message,) = messages(rb'{"id":1,"method":"tools/call","params":{"x":NaN,"y":"\ud800"}}')
    assert message["method"] == "tools/call"


def test_amounts_lose_no_digit() -> None:
    """A cost keeps every digit that the server wrote."""
    (message,) = messages(b'{"id":1,"result":{"_meta":{"total_provider_cost":0.1234567890123456789012}}}')
    assert message["result"]["_meta"]["total_provider_cost"] == Decimal("0.1234567890123456789012")


@given(st.binary(max_size=2000), st.lists(st.integers(min_value=0, max_value=4000)))
def test_an_encoded_body_is_read_in_any_chunks(body: bytes, places: list[int]) -> None:
    """A compressed answer is the same however it is split."""
    inflate = inflater("gzip")
    assert b"".join(inflate(chunk) for chunk in cut(gzip.compress(body), places)) == body


def test_unknown_and_torn_encodings_are_errors() -> None:
    """What cannot be read says so, so that nobody takes it for empty."""
    with pytest.raises(ValueError, match="br"):
        inflater("br")
    with pytest.raises(ValueError, match="gzip"):
        inflater("gzip")(b"not compressed")
