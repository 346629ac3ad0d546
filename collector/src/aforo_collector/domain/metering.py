"""From the record of a call to the occurrence that bills it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from .cost import Cost, Pools, Unpriced, pools_of
from .money import ZERO, decimal_of
from .span import Role, Span
from .trace import CALL_BELOW, COVERED, Node
from .usage import Kind, Occurrence

_MODEL, _TOOL = int(Kind.MODEL), int(Kind.TOOL)
_TOOL_ROLE, _USAGE_ROLE = int(Role.TOOL), int(Role.USAGE)

CostOf = Callable[[str, str, Pools, int], Cost]
"""(provider, model, pools, time in ns) -> cost, from a price book."""


def meter(node: Node, span: Span, cost_of: CostOf) -> Occurrence:
    """What the record of a call counts for; revenue is left to the estimate stage."""
    if span.role == _TOOL_ROLE:
        return _tool(span)
    if span.role == _USAGE_ROLE:
        return _hand_recorded(span)
    return _model(node, span, cost_of)


def _tool(span: Span) -> Occurrence:
    return Occurrence(
        _TOOL, span.label, span.status, span.step_type, "", 1, 0, 0, 0, 0, 0, 0, ZERO,
        decimal_of(span.reported_cost) if span.reported_cost else None,
    )  # fmt: skip


def _hand_recorded(span: Span) -> Occurrence:
    assert span.recorded is not None
    return Occurrence(Kind.USAGE, metric=span.recorded.metric, quantity=decimal_of(span.recorded.quantity))


def _model(node: Node, span: Span, cost_of: CostOf) -> Occurrence:
    counted = 0 if node.flags & CALL_BELOW else 1
    tokens = span.tokens
    if span.quality == "cached_response":
        return Occurrence(Kind.MODEL, span.label, "SUCCESS", span.step_type, calls=1, quality=span.quality)
    status = "ERROR" if span.failed else "SUCCESS"
    if tokens is None or tokens.input + tokens.output == 0:
        unknown = not span.failed and not node.flags & COVERED
        return Occurrence(
            Kind.MODEL, span.label, status, span.step_type, calls=counted, model_calls=counted,
            reason="no_usage" if unknown else "", quality=span.quality,
        )  # fmt: skip
    pools, agree = pools_of(*tokens)
    cost: Cost = cost_of(span.provider, span.label, pools, span.start_ns)
    known = isinstance(cost, Decimal)
    return Occurrence(
        _MODEL,
        span.label,
        status,
        span.step_type,
        "",
        counted,
        counted,
        pools.input + pools.audio_in,
        pools.output + pools.audio_out,
        pools.reasoning,
        pools.cache_read,
        pools.cache_write_5m + pools.cache_write_1h,
        ZERO,
        cost if isinstance(cost, Decimal) else None,
        "" if known else _reason(cost),
        span.quality if agree else "inconsistent",
    )


def _reason(cost: Cost) -> str:
    return cost.reason if isinstance(cost, Unpriced) else ""
