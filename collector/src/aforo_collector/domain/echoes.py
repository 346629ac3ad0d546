"""Echoes: one call that two instrumentations tell of, in traces that do not know of each other.

A framework's plugin and a provider's instrumentation, or two plugins of one framework, see the same call
without seeing each other: no parent joins their spans, and often no id does. What they share is the call:
its customer, what it used, and when. Among calls of one customer that come from different instrumentations,
two are the same when their ids say so, or when they happened at the same time and used the same.

The decision is a function of the set of calls, so that it does not depend on the order they come in. It is
one to one: of two calls at once, each told twice, two remain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .span import Role, Span, Tokens, bears_tokens

NS_PER_MS = 1_000_000
STARTS_APART_MAX_NS = 2_000 * NS_PER_MS
"""Two tellers of one model call start their spans within this time of each other."""
TOOL_STARTS_APART_MAX_NS = 500 * NS_PER_MS
"""The same for tools, of which nothing is known but the name."""
OWN_SOURCE = "aforo"
AGENT_MAX_NS = 600_000 * NS_PER_MS
"""How long after its start an agent's calls are looked for."""
_MODEL, AGENT = int(Role.MODEL), int(Role.AGENT)


class Call(NamedTuple):
    """What tells one call from another. `label` is the tool or the model, tokens are the provider's totals."""

    start_ns: int
    trace_id: bytes
    span_id: int
    end_ns: int
    role: int
    source: str
    label: str
    call_id: str
    input: int
    output: int
    worth: int
    """How much of the call the span knows; the record of a call is the one that knows most."""


def call_of(span: Span) -> Call:
    """The call that a model or tool span tells of; of an agent whose calls nobody tells, its run."""
    tokens = span.tokens if bears_tokens(span) else None
    given = (tokens.input, tokens.output) if tokens is not None else (0, 0)
    return Call(
        span.start_ns, span.trace_id, span.span_id, span.end_ns, span.role, span.source, span.label,
        span.call_id, *given, _worth(span, tokens),
    )  # fmt: skip


def _worth(span: Span, tokens: Tokens | None) -> int:
    """Token counts tell more than none, and ours more than another's: who knows that an answer came out of a
    cache knows better than who repeats what it cost the first time.
    """
    own = span.source == OWN_SOURCE
    if span.quality == "cached_response":
        return 100
    details = sum(1 for count in tokens or () if count)
    return (20 if details else 0) + (10 if own else 0) + details


def same_call(one: Call, other: Call) -> bool:
    """Whether two spans of different instrumentations tell of the same call."""
    if one.role != other.role or one.source == other.source or one.role == AGENT:
        return False
    if one.start_ns > other.end_ns or other.start_ns > one.end_ns:
        return False
    apart_max_ns = STARTS_APART_MAX_NS if one.role == _MODEL else TOOL_STARTS_APART_MAX_NS
    if abs(one.start_ns - other.start_ns) > apart_max_ns:
        return False
    if one.call_id and other.call_id:
        return one.call_id == other.call_id
    if one.role != _MODEL:
        return one.label == other.label
    if one.input + one.output and other.input + other.output:
        return (one.input, one.output) == (other.input, other.output)
    # The name that was asked for is the beginning of the name that answered.
    return one.label.startswith(other.label) or other.label.startswith(one.label)


def tells_of(call: Call, agent: Call) -> bool:
    """Whether a call of a model is one that an agent made whose own instrumentation tells of none."""
    last_ns = min(agent.end_ns, agent.start_ns + AGENT_MAX_NS)
    return call.role == _MODEL and call.source != agent.source and agent.start_ns <= call.start_ns <= last_ns


def echoes_of(calls: Iterable[Call]) -> set[Call]:
    """Those of the calls that another one of them is the record of.

    Each is given to the record it starts nearest to that no other of its source was given to. Closed under
    `same_call`, a set of calls gives what any larger set gives for them.
    """
    found: set[Call] = set()
    records: list[tuple[Call, set[str]]] = []
    for call in sorted(calls, key=_rank):
        nearest: tuple[int, int] | None = None
        for place, (record, tellers) in enumerate(records):
            if call.source not in tellers and same_call(record, call):
                distance = (abs(record.start_ns - call.start_ns), place)
                nearest = distance if nearest is None else min(nearest, distance)
        if nearest is None:
            records.append((call, {call.source}))
        else:
            records[nearest[1]][1].add(call.source)
            found.add(call)
    return found


def _rank(call: Call) -> tuple[object, ...]:
    return (-call.worth, call.start_ns, call.trace_id, call.span_id)
