"""Echoes: one call that two instrumentations tell of, in traces that do not know of each other.

A framework's plugin and a provider's instrumentation, or two plugins of one framework, see the same call
without seeing each other: no parent joins their spans, and often no id does. What they share is the call:
its customer, what it used, and when. Among calls of one customer that come from different instrumentations,
two are the same when their ids say so, or when they happened at the same time and used the same.

A tool that says which tokens it used inside is a claim in the same way: where calls of models that another
instrumentation tells of used just that while it ran, they bill it.

The decision is a function of the set of calls, so that it does not depend on the order they come in. It is
one to one: of two calls at once, each told twice, two remain.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from .span import Role, Span, Tokens, bears_tokens

NS_PER_MS = 1_000_000
STARTS_APART_MAX_NS = 2_000 * NS_PER_MS
"""Two tellers of one model call start their spans within this time of each other."""
TOOL_STARTS_APART_MAX_NS = 500 * NS_PER_MS
"""The same for tools, of which nothing is known but the name."""
OWN_SOURCE = "aforo"
STRUCK_WORTH = 1_000
CALLS_WITHIN_NS = 600_000 * NS_PER_MS
"""How long after its start the calls of an agent, or of a tool, are looked for."""
_MODEL, _TOOL, AGENT = int(Role.MODEL), int(Role.TOOL), int(Role.AGENT)


class Call(NamedTuple):
    """What tells one call from another. `label` is the tool or the model, tokens are the provider's totals; of a
    tool they are those that it used inside.
    """

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


def call_of(span: Span, fuller: Span | None = None) -> Call:
    """The call that a model or tool span tells of; of an agent whose calls nobody tells, its run.

    `fuller` is another span of the same tool call, which tells of tokens if this one does not.
    """
    tokens = counted = span.tokens if bears_tokens(span) and span.role != _TOOL else None
    if span.role == _TOOL:
        counted = span.tokens or (fuller.tokens if fuller is not None else None)
    given = (counted.input, counted.output) if counted is not None else (0, 0)
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


def struck(call: Call) -> Call:
    """A call that somebody took back by hand: it stays the record, so that nobody else's span brings it back."""
    return call._replace(worth=STRUCK_WORTH)


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


def tells_of(call: Call, caller: Call) -> bool:
    """Whether a call of a model, told by another instrumentation, is one that an agent or a tool made."""
    last_ns = min(caller.end_ns, caller.start_ns + CALLS_WITHIN_NS)
    return (
        call.role == _MODEL and call.source != caller.source and caller.start_ns <= call.start_ns <= last_ns
    )


def is_told(tool: Call, calls: Iterable[Call], tools: Iterable[Call]) -> bool:
    """Whether calls of models, told by another instrumentation while a tool ran, are what it used inside.

    One of them has used just that, or several have together: then the tool's count is a claim. Of `tools`, all
    that tell of tokens and ran at the same time, those that ended before have the first claim on a call.
    """
    used = tool.input, tool.output
    inside = [call for call in calls if _is_inside(call, tool)]
    alike = [call for call in inside if (call.input, call.output) == used]
    before = [
        other
        for other in tools
        if (other.input, other.output) == used
        and _finish(other) < _finish(tool)
        and any(_is_inside(call, other) for call in alike)
    ]
    if len(alike) > len(before):
        return True
    together = sum(call.input for call in inside), sum(call.output for call in inside)
    return len(inside) > 1 and together == used


def _is_inside(call: Call, tool: Call) -> bool:
    return tells_of(call, tool) and call.end_ns <= tool.end_ns


def _finish(call: Call) -> tuple[object, ...]:
    return (call.end_ns, *call[:3])


class Neighbourhood:
    """Calls on shelves by what the same call would share, each shelf in the order of starts, so that looking
    for a call's like costs what there is of its like, and not what there is.
    """

    def __init__(self) -> None:
        self._shelves: dict[tuple[object, ...], list[Call]] = {}

    def add(self, call: Call) -> None:
        """Put a call where others will look for it."""
        for kind in _kinds(call):
            insort(self._shelves.setdefault((*kind, "all"), []), call)
            if not call.call_id:
                insort(self._shelves.setdefault((*kind, "anonymous"), []), call)
        if call.call_id:
            insort(self._shelves.setdefault((call.role, call.call_id), []), call)

    def near(self, call: Call) -> Iterator[Call]:
        """The calls that are the same as one, by the time they start; some of them twice."""
        if call.call_id:
            shelves = [(call.role, call.call_id), *[(*kind, "anonymous") for kind in _likes(call)]]
        else:
            shelves = [(*kind, "all") for kind in _likes(call)]
        for shelf in shelves:
            calls = self._shelves.get(shelf, ())
            first = bisect_left(calls, (call.start_ns - STARTS_APART_MAX_NS,))
            for other in islice(calls, first, None):
                if other.start_ns > call.start_ns + STARTS_APART_MAX_NS:
                    break
                if same_call(other, call):
                    yield other


def _kinds(call: Call) -> list[tuple[object, ...]]:
    """What a call can be found under."""
    if call.role != _MODEL:
        return [("tool", call.label)]
    if call.input + call.output:
        return [("model",), ("tokens", call.input, call.output)]
    return [("model",), ("bare",)]


def _likes(call: Call) -> list[tuple[object, ...]]:
    """What a call of which this may be an echo is found under."""
    if call.role != _MODEL:
        return [("tool", call.label)]
    if call.input + call.output:
        return [("tokens", call.input, call.output), ("bare",)]
    return [("model",)]


def echoes_of(calls: Iterable[Call]) -> set[Call]:
    """Those of the calls that another one of them is the record of.

    Each is given to the record it starts nearest to that no other of its source was given to. Closed under
    `same_call`, a set of calls gives what any larger set gives for them.
    """
    found: set[Call] = set()
    records = Neighbourhood()
    tellers: dict[Call, set[str]] = {}
    for call in sorted(calls, key=_rank):
        free = [record for record in records.near(call) if call.source not in tellers[record]]
        if free:
            nearest = min(free, key=lambda record: (abs(record.start_ns - call.start_ns), _rank(record)))
            tellers[nearest].add(call.source)
            found.add(call)
        else:
            records.add(call)
            tellers[call] = {call.source}
    return found


def _rank(call: Call) -> tuple[object, ...]:
    return (-call.worth, call.start_ns, call.trace_id, call.span_id)
