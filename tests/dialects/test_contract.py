"""The contract of dialects: whoever describes a call, it is the same call."""

from __future__ import annotations

import pytest
from aforo_collector.dialects.registry import DIALECTS, read_unknown, reader_of
from aforo_collector.domain.span import Role
from hypothesis import given, settings

from .calls import CANON, Call, Read, expected, model_calls, read_of
from .spelling import Writer
from .wire import read, read_json
from .writers import WRITERS

_DETAILS = ("cache_read", "cache_write", "reasoning", "audio_in", "audio_out")
_CASES = [
    pytest.param(writer, call, id=f"{spelling}: {title}")
    for spelling, writer in WRITERS.items()
    for title, call in CANON.items()
    if call.kind in writer.kinds and not ("totals" in writer.lacks and call.kind == "agent" and call.tokens)
]


@pytest.mark.parametrize(("writer", "call"), _CASES)
def test_a_call_reads_the_same_in_every_dialect(writer: Writer, call: Call) -> None:
    """Role, model or tool, provider, ids, outcome, quality, tokens and session are the call's, not the dialect's."""
    assert read_of(read(writer.write(call))) == _within(writer, call)


@pytest.mark.parametrize(("writer", "call"), _CASES)
def test_both_encodings_read_the_same(writer: Writer, call: Call) -> None:
    """OTLP/JSON says what OTLP protobuf says, in every dialect."""
    assert read_json(writer.write(call)) == read(writer.write(call))


@settings(max_examples=60)
@given(call=model_calls())
def test_counts_survive_every_spelling(call: Call) -> None:
    """Whatever a model call's counts are, every dialect gives all of them that it can say, and flags the rest."""
    for spelling, writer in WRITERS.items():
        if "chat" in writer.kinds:
            assert read_of(read(writer.write(call))) == _within(writer, call), spelling


def test_every_dialect_is_under_the_contract() -> None:
    """A dialect that is registered has a writer here, and is reached by its scope or its marker."""
    written = [
        writer.write(call)
        for writer in WRITERS.values()
        for call in CANON.values()
        if call.kind in writer.kinds
    ]
    for dialect in DIALECTS:
        assert any(
            dialect.marker in span.attributes if reader == read_unknown else reader == dialect.read
            for span in written
            for reader in [reader_of(span.scope)]
        ), dialect.name


def _within(writer: Writer, call: Call) -> Read:
    """What is left of the expectation when a dialect cannot say everything."""
    read, lacks = expected(call), writer.lacks
    who = "models" if read.role == Role.MODEL else "tools"
    if {"call_id", f"call_id of {who}"} & lacks:
        read = read._replace(call_id="")
    if {"session", f"session of {who}"} & lacks:
        read = read._replace(session="")
    if "models" in lacks and read.role == Role.AGENT:
        read = read._replace(quality="missing")
    if read.tokens is None:
        return read
    missing = [name for name in _DETAILS if name in lacks]
    if call.streamed and "reasoning when streamed" in lacks:
        missing.append("reasoning")
    read = read._replace(tokens=read.tokens._replace(**dict.fromkeys(missing, 0)))
    if "zeros" in lacks and read.tokens == (0,) * 9:
        return read._replace(tokens=None, quality="missing")
    if "reasoning" in missing and read.quality == "reported" and read.tokens.output:
        read = read._replace(quality="estimated")
    return read
