"""What a set of spans must bill, computed the slow way from the whole set at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aforo_collector.domain.echoes import call_of, echoes_of, is_told, tells_of
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.metering import meter
from aforo_collector.domain.span import Role, Span, bears_tokens
from aforo_collector.domain.trace import CALL_BELOW, COVERED, TOKENS_BELOW, TOLD, UNSEEN, Node
from aforo_collector.domain.usage import Occurrence

from .engine import price


class _Billed(NamedTuple):
    """A span that counts, whose it is, and what the others of its trace have told it."""

    span: Span
    identity: Identity
    node: Node


def records(spans: Iterable[Span]) -> dict[tuple[bytes, int], tuple[Identity, Occurrence]]:
    """(trace, span) -> (effective identity, occurrence) of every span that bills; twins are not looked for."""
    by_trace: dict[bytes, dict[int, Span]] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, {}).setdefault(span.span_id, span)
    found: dict[tuple[bytes, int], _Billed] = {}
    for trace_id, trace in by_trace.items():
        parents = {span_id: _parent(trace, span_id) for span_id in trace}
        for span_id, span in trace.items():
            chain = _chain(parents, span_id)
            identity = _identity(trace, chain)
            below = [s for s in trace if s != span_id and span_id in _chain(parents, s)]
            if identity.customer_id and _bills(trace, span, chain, below):
                node = Node(span_id)
                if any(_is_call(trace[s]) for s in below):
                    node.flags |= CALL_BELOW
                if _unseen(span):
                    node.flags |= UNSEEN
                if _covered(trace, chain):
                    node.flags |= COVERED
                node.outcome, node.cost, node.fuller = _told_inside(trace, parents, span)
                if span.role != Role.TOOL:
                    node.fuller = _fuller(trace, chain)
                elif any(bears_tokens(trace[s]) and trace[s].role != Role.TOOL for s in below):
                    node.flags |= TOKENS_BELOW
                found[trace_id, span_id] = _Billed(span, identity, node)
    for key in _told_elsewhere(found):
        del found[key]
    return {key: (billed.identity, meter(billed.node, billed.span, price)) for key, billed in found.items()}


def _told_elsewhere(found: dict[tuple[bytes, int], _Billed]) -> list[tuple[bytes, int]]:
    """Those that another instrumentation's span of the same customer is the record of.

    Of tools whose tokens such spans tell of, that is noted.
    """
    gone = []
    for customer_id in {billed.identity.customer_id for billed in found.values()}:
        calls = {
            call_of(billed.span, billed.node.fuller): billed.node
            for billed in found.values()
            if billed.identity.customer_id == customer_id
            and (billed.span.role in (Role.MODEL, Role.TOOL) or _unseen(billed.span))
        }
        seen = {
            agent
            for agent in calls
            if any(tells_of(call, agent) for call in calls if agent.role == Role.AGENT)
        }
        echoes = echoes_of(calls)
        gone += [(call.trace_id, call.span_id) for call in echoes | seen]
        models = [call for call in calls if call.role == Role.MODEL and call not in echoes]
        tools = [call for call in calls if call.role == Role.TOOL and call.input + call.output]
        for tool in tools:
            if is_told(tool, models, tools):
                calls[tool].flags |= TOLD
    return gone


def _parent(trace: dict[int, Span], span_id: int) -> int | None:
    """The parent that counts: arrived, and not by way of a cycle."""
    parent = trace[span_id].parent_id
    if parent not in trace:
        return None
    seen, at = set(), parent
    while at in trace and at not in seen:
        if at == span_id:
            return None
        seen.add(at)
        at = trace[at].parent_id
    return parent


def _chain(parents: dict[int, int | None], span_id: int) -> list[int]:
    """The span and its ancestors, innermost first."""
    chain = [span_id]
    while (parent := parents[chain[-1]]) is not None:
        chain.append(parent)
    return chain


def _identity(trace: dict[int, Span], chain: list[int]) -> Identity:
    identity = NOBODY
    for span_id in reversed(chain):
        identity = trace[span_id].identity.inherit(identity)
    return identity


def _bills(trace: dict[int, Span], span: Span, chain: list[int], below: list[int]) -> bool:
    tokens_below = any(bears_tokens(trace[s]) and trace[s].role != Role.TOOL for s in below)
    if span.role in (Role.MODEL, Role.AGENT) and bears_tokens(span):
        return not tokens_below
    if span.role == Role.MODEL or _unseen(span):
        return not tokens_below and not any(_is_call(trace[s]) for s in below)
    if span.role == Role.TOOL:
        for above in chain[1:]:
            if trace[above].role == Role.TOOL:
                return not (trace[above].label and trace[above].label == span.label)
            if trace[above].role in (Role.MODEL, Role.AGENT):
                return True
        return True
    return False


def _fuller(trace: dict[int, Span], chain: list[int]) -> Span | None:
    """The nearest model span above, if it says more of the same tokens."""
    span = trace[chain[0]]
    if span.role == Role.MODEL and span.tokens is not None:
        for above in [trace[s] for s in chain[1:17]]:
            if above.role == Role.MODEL and bears_tokens(above) and above.tokens is not None:
                more = sum(map(bool, above.tokens)) > sum(map(bool, span.tokens))
                return above if above.tokens[:2] == span.tokens[:2] and more else None
            if above.role != Role.OTHER:
                return None
    return None


def _is_call(span: Span) -> bool:
    return (span.role == Role.MODEL and span.quality != "cached_response") or _unseen(span)


def _unseen(span: Span) -> bool:
    return span.role == Role.AGENT and span.quality == "missing"


def _told_inside(
    trace: dict[int, Span], parents: dict[int, int | None], tool: Span
) -> tuple[str, str, Span | None]:
    """The first failure, the first cost and the first with tokens among the spans that tell of the same tool call
    from further inside.
    """
    if tool.role != Role.TOOL:
        return "", "", None
    inside = []
    for span in trace.values():
        path = _chain(parents, span.span_id)
        if span is tool or span.role != Role.TOOL or tool.span_id not in path:
            continue
        between = [trace[s] for s in path[: path.index(tool.span_id)]]
        same = [s.role == Role.OTHER or (s.role == Role.TOOL and s.label == tool.label) for s in between]
        if all(same) and tool.label:
            inside.append(span)
    inside.sort(key=lambda span: (span.start_ns, span.span_id))
    failures = [span.status for span in inside if span.status != "SUCCESS"]
    costs = [span.reported_cost for span in inside if span.reported_cost]
    tokens = [span for span in inside if span.tokens is not None]
    return next(iter(failures), ""), next(iter(costs), ""), next(iter(tokens), None)


def _covered(trace: dict[int, Span], chain: list[int]) -> bool:
    for above in chain[1:]:
        if trace[above].role == Role.MODEL and bears_tokens(trace[above]):
            return True
        if trace[above].role in (Role.TOOL, Role.AGENT):
            return False
    return False
