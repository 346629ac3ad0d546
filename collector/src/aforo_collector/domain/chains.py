"""Chains: several spans above each other that tell of one call, and what the others know better than its record."""

from __future__ import annotations

from .span import Role, Span, Tokens
from .trace import ARRIVED, BEARS_TOKENS, CUT, ROLE_MASK, ROLE_SHIFT, STRUCK, Node, Tree, is_inner_tool

SPANS_INSIDE_MAX = 256
SPANS_ABOVE_MAX = 16
_OTHER, _MODEL, _TOOL = (role << ROLE_SHIFT for role in (Role.OTHER, Role.MODEL, Role.TOOL))


def ask_inside(tree: Tree, node: Node, record: Node | None = None) -> None:
    """Note on the record of a tool call what the spans know that tell of it from further inside of a span of it.

    A framework may call a success what its server has called an error, and only the server may know what the
    call cost or which tokens it used: whoever was nearest to it is right. Looks at `SPANS_INSIDE_MAX` spans at most.
    A call that was taken back by hand before its record arrived stays so.
    """
    record = record or node
    inside: list[Span] = []
    pending = tree.children(node)
    for _ in range(SPANS_INSIDE_MAX):
        if not pending:
            break
        inner = pending.pop()
        role = inner.flags & ROLE_MASK
        if role == _TOOL and is_inner_tool(inner):
            inside.append(tree.span(inner))
            _strike_with(record, inner)
        elif role != _OTHER:
            continue
        pending += tree.children(inner)
    for span in sorted(inside, key=lambda span: (span.start_ns, span.span_id)):
        learn(record, span)


def learn(node: Node, span: Span) -> None:
    """Note on the record of a call what another span of it says; the first to say it holds.

    That includes the tokens of a tool call. Those of a model call are the record's: its twin may know less of them.
    """
    if span.status != "SUCCESS":
        node.outcome = node.outcome or span.status
    node.cost = node.cost or span.reported_cost
    if span.role == Role.TOOL and span.tokens is not None:
        node.fuller = node.fuller or span


def ask_above(tree: Tree, node: Node) -> None:
    """Note on a model call whether the span around it says more of the same tokens: which were cached, or reasoning.

    A client's instrumentation may leave out what the framework around it tells. Only the nearest model span
    above is asked, so that one which arrives later cannot change the answer. If that one was taken back by hand,
    so is a call that arrives inside of it.
    """
    above = _around(tree, node)
    if above is None:
        node.fuller = None
        return
    _strike_with(node, above)
    claim = tree.span(above)
    mine, theirs = tree.span(node).tokens or Tokens(), claim.tokens or Tokens()
    node.fuller = claim if mine[:2] == theirs[:2] and _details(theirs) > _details(mine) else None


def _around(tree: Tree, node: Node) -> Node | None:
    """The nearest model span above a model call, if it bears tokens."""
    above = node
    for _ in range(SPANS_ABOVE_MAX):
        parent = tree.find(above.parent_id) if above.parent_id and not above.flags & CUT else None
        if parent is None or not parent.flags & ARRIVED or parent.flags & ROLE_MASK not in (_OTHER, _MODEL):
            return None
        above = parent
        if above.flags & ROLE_MASK == _MODEL:
            break
    return above if above.flags & BEARS_TOKENS else None


def _strike_with(node: Node, other: Node) -> None:
    """Take a span of a call back that arrives after another one of it was."""
    if not node.strand_no:
        node.flags |= other.flags & STRUCK


def _details(tokens: Tokens) -> int:
    return sum(1 for count in tokens if count)
