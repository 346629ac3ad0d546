"""Two spans of one call that do not stand above each other: found by the call's own id.

Two instrumentations that do not see each other make siblings: both carry the response id that the provider
gave, or the tool call id that the model gave. They are one call when their times overlap; some servers hand
out ids from a small range, and two calls one after the other with the same id are two calls.

The latest ids are in memory; those of a trace that is not are read again from its latest
`SPANS_LOOKED_BACK_MAX` spans, once. That is a window: in a trace of more spans than that, two spans of one
call that arrive far apart are both billed.
"""

from __future__ import annotations

from aforo_collector.domain.chains import ask_inside, learn
from aforo_collector.domain.span import Role, Span, bears_tokens
from aforo_collector.domain.trace import (
    ARRIVED,
    ECHO,
    ROLE_MASK,
    ROLE_SHIFT,
    STRUCK,
    TOKENS_BELOW,
    TWIN,
    Node,
    Standing,
    Tree,
    standing,
)
from aforo_collector.store.trace_rows import TraceRows

from .archive import Archive

CALLS_REMEMBERED_MAX = 65_536
SPANS_LOOKED_BACK_MAX = 2_000
_CALLS = (Role.MODEL << ROLE_SHIFT, Role.TOOL << ROLE_SHIFT)


class Twins:
    """Marks all but one of the spans of a call with TWIN."""

    def __init__(self, traces: TraceRows, archive: Archive) -> None:
        self._traces = traces
        self._archive = archive
        self._recent: dict[int, dict[tuple[int, str], list[int]]] = {}
        self._calls = 0

    def mark(self, tree: Tree) -> None:
        """Look at the spans that changed; marks change the tree's nodes in place."""
        calls = self._recent.get(tree.trace_no)
        groups = set()
        for node in tree.changed.values():
            role = node.flags & ROLE_MASK
            if role not in _CALLS or not node.flags & ARRIVED:
                continue
            call_id = (node.span or tree.span(node)).call_id
            if not call_id:
                continue
            if calls is None:  # only now, because a trace whose calls have no ids has none to look for
                calls = self._remember(tree)
            key = (role, call_id)
            members = calls.get(key)
            if members is None:
                calls[key] = [node.span_id]
                self._calls += 1
                continue
            if node.span_id not in members:
                members.append(node.span_id)
            if len(members) > 1:
                groups.add(key)
        if calls is None:
            return
        for key in groups:
            self._settle(tree, calls[key])
        if self._calls > CALLS_REMEMBERED_MAX:
            self._forget_oldest()

    def forget(self) -> None:
        """Drop all memory: after a rollback it may name spans that do not exist."""
        self._recent.clear()
        self._calls = 0

    def _remember(self, tree: Tree) -> dict[tuple[int, str], list[int]]:
        """Start to remember a trace, with the calls that it has in the store if it is not new."""
        calls = self._recent[tree.trace_no] = {} if tree.load is None else self._stored(tree)
        self._calls += len(calls)
        return calls

    def _stored(self, tree: Tree) -> dict[tuple[int, str], list[int]]:
        """The calls of a trace that memory has forgotten, or never knew because the process is new."""
        calls: dict[tuple[int, str], list[int]] = {}
        for node in self._traces.latest_calls(tree.trace_no, _CALLS, SPANS_LOOKED_BACK_MAX):
            call_id = self._archive.span_of(node).call_id
            if call_id:
                calls.setdefault((node.flags & ROLE_MASK, call_id), []).append(node.span_id)
        return calls

    def _forget_oldest(self) -> None:
        for trace_no in list(self._recent)[:-1]:  # the tree at hand stays
            self._calls -= len(self._recent.pop(trace_no))
            if self._calls <= CALLS_REMEMBERED_MAX // 2:
                break

    def _settle(self, tree: Tree, members: list[int]) -> None:
        nodes = [node for span_id in members if (node := tree.find(span_id)) is not None]
        chosen: list[Node] = []
        for node in sorted(nodes, key=lambda node: _rank(node, tree.span(node))):
            span = tree.span(node)
            before = node.flags
            node.flags &= ~TWIN
            if standing(node, ECHO | STRUCK) is Standing.RECORD:
                record = next((other for other in chosen if _overlap(span, tree.span(other))), None)
                if record is None:
                    chosen.append(node)
                else:
                    node.flags |= TWIN
                    learn(record, span)
                    if span.role == Role.TOOL:
                        ask_inside(tree, node, record)
                    record.told_below = record.told_below or bool(node.flags & TOKENS_BELOW)
                    if record.outcome or record.cost or record.fuller or record.told_below:
                        tree.changed[record.span_id] = record
            if node.flags != before:
                tree.changed[node.span_id] = node


def _rank(node: Node, span: Span) -> tuple[object, ...]:
    """The record of a call is the span that knows most of it; ties are broken by time and id.

    One that was taken back by hand stays the record: nobody else's span brings the call back.
    """
    details = sum(1 for count in span.tokens or () if count)
    return (
        not node.flags & STRUCK, not bears_tokens(span), not span.identity.customer_id, -details, span.start_ns,
        span.span_id,
    )  # fmt: skip


def _overlap(one: Span, other: Span) -> bool:
    return one.start_ns <= other.end_ns and other.start_ns <= one.end_ns
