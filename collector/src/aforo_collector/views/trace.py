"""Span trees as users see them: nested as deep as a reader of JSON can be expected to follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from aforo_collector.domain.cost import pools_of
from aforo_collector.domain.money import plain
from aforo_collector.domain.session import NS_PER_MS
from aforo_collector.domain.span import Role, Span, span_id_text
from aforo_collector.domain.usage import Entry, Occurrence

from .usage import event_views
from .wire import Wire, instant, pools_view

LEVELS_MAX = 100

_STATUS = ("UNSET", "OK", "ERROR")
_NOTHING = Occurrence(0)
_OPERATION = ("gen_ai.operation.name", "aforo.operation.name", "mcp.method.name")


class Placed(NamedTuple):
    """A node and its place: keys are (trace, span) and tell the spans of several traces apart; `parent` is
    None where the tree begins.
    """

    key: tuple[int, int]
    parent: tuple[int, int] | None
    start_ns: int
    view: Wire


def span_view(
    span: Span,
    status_code: int,
    attributes: dict[str, Any],
    standing: str,
    entry: Entry | None,
    tenant_id: str,
) -> Wire:
    """A span as a node without children; `entry` is what it is billed for."""
    billed = entry.occurrence if entry is not None else _NOTHING
    priced = span.role == Role.MODEL or (span.role == Role.AGENT and span.tokens is not None)
    return {
        "traceId": span.trace_id.hex(),
        "spanId": span_id_text(span.span_id),
        "parentSpanId": span_id_text(span.parent_id) if span.parent_id else None,
        "name": span.name,
        "operation": next((attributes[name] for name in _OPERATION if name in attributes), None),
        "startedAt": instant(span.start_ns),
        "endedAt": instant(span.end_ns),
        "durationMs": (span.end_ns - span.start_ns) // NS_PER_MS,
        "status": _STATUS[status_code] if 0 <= status_code < len(_STATUS) else "UNSET",
        "model": (span.label if priced else span.model) or None,
        "toolName": (span.label or None) if span.role == Role.TOOL else None,
        "provider": span.provider or None,
        "quality": billed.quality or span.quality or None,
        "tokens": pools_view(pools_of(*span.tokens)[0]) if span.tokens is not None else None,
        "providerCost": plain(billed.cost) if billed.cost is not None else None,
        "unpriced": billed.reason or None,
        "standing": standing,
        "usageEvents": sorted(event["eventId"] for event in event_views(entry, tenant_id)) if entry else [],
        "attributes": attributes,
    }


def trace_view(session_id: str, nodes: Iterable[Placed], left_out: int = 0) -> Wire:
    """The forest of a session's spans, sorted by start and then id at every level.

    A span whose parent is not among them is a root. What lies deeper than `LEVELS_MAX` is a child of its
    ancestor there, and both say `depthCapped`. `left_out` is the number of spans that are too many to show.
    """
    ordered = sorted(nodes, key=_order)
    known = {node.key for node in ordered}
    below: dict[tuple[int, int] | None, list[Placed]] = {}
    for node in ordered:
        below.setdefault(node.parent if node.parent in known else None, []).append(node)
    forest: Wire = {"sessionId": session_id, "spanCount": len(ordered), "roots": []}
    if left_out:
        forest["spansLeftOut"] = left_out
    roots: list[Wire] = forest["roots"]
    reached: list[tuple[Placed, list[Wire], int]] = [(root, roots, 1) for root in below.get(None, ())]
    capped = []
    for node, siblings, level in reached:  # grows while it is walked: breadth first, never recursive
        view = node.view
        siblings.append(view)
        children: list[Wire] = []
        if level > LEVELS_MAX + 1:
            view["depthCapped"] = True
        if level > LEVELS_MAX:
            view["children"], children = [], siblings
        else:
            view["children"] = children
        found = below.get(node.key, ())
        reached += [(child, children, level + 1) for child in found]
        if level == LEVELS_MAX and any(child.key in below for child in found):
            view["depthCapped"] = True
            capped.append(children)
    starts = {id(node.view): _order(node) for node in ordered} if capped else {}
    for children in capped:
        children.sort(key=lambda view: starts[id(view)])
    return forest


def _order(node: Placed) -> tuple[int, str, str]:
    return node.start_ns, node.view["spanId"], node.view["traceId"]
