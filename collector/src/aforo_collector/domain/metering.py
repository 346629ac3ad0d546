"""From the record of a call to the occurrence that bills it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from .cost import Cost, Pools, Unpriced, pools_of
from .money import ZERO, decimal_of
from .span import Role, Span
from .trace import CALL_BELOW, COVERED, TOKENS_BELOW, TOLD, UNSEEN, Node
from .usage import Kind, Occurrence, occurrence_from

_MODEL, _TOOL = int(Kind.MODEL), int(Kind.TOOL)
_TOOL_ROLE, _USAGE_ROLE = int(Role.TOOL), int(Role.USAGE)

_TOLD = TOKENS_BELOW | TOLD
"""Other spans bill the tokens that a tool call tells of."""
_UNSEEN = Occurrence(Kind.MODEL, reason="no_usage", quality="missing")
"""What an agent used of models nobody knows, nor how many calls it made."""

CostOf = Callable[[str, str, Pools, int], Cost]
"""(provider, model, pools, time in ns) -> cost, from a price book."""


def meter(node: Node, span: Span, cost_of: CostOf) -> Occurrence:
    """What the record of a call counts for; revenue is left to the estimate stage."""
    if span.role == _TOOL_ROLE:
        return _tool(node, span, cost_of)
    if span.role == _USAGE_ROLE:
        return _hand_recorded(span)
    if node.flags & UNSEEN:
        return _UNSEEN
    return _model(node.flags, span, node.fuller or span, cost_of)


def _tool(node: Node, span: Span, cost_of: CostOf) -> Occurrence:
    status = node.outcome or span.status if span.status == "SUCCESS" else span.status
    said = span.reported_cost or node.cost
    cost = decimal_of(said) if said else None
    told = span if span.tokens is not None else node.fuller
    if told is None or told.tokens is None or node.told_below or node.flags & _TOLD:
        return occurrence_from((
            _TOOL, span.label, status, span.step_type, "", 1, 0, 0, 0, 0, 0, 0, ZERO, cost, "", "", None,
        ))  # fmt: skip
    pools, agree = pools_of(*told.tokens)
    fresh, cache_read, write_5m, write_1h, text, reasoning, audio_in, audio_out = pools
    reason = ""
    if cost is None:
        found = cost_of(told.provider, told.model, pools, span.start_ns)
        if isinstance(found, Unpriced):
            reason = found.reason
        else:
            cost = found
    return occurrence_from((
        _TOOL, span.label, status, span.step_type, told.model, 1, 1, fresh + audio_in, text + audio_out, reasoning,
        cache_read, write_5m + write_1h, ZERO, cost, reason, "reported" if agree else "inconsistent", None,
    ))  # fmt: skip


def _hand_recorded(span: Span) -> Occurrence:
    assert span.recorded is not None
    return Occurrence(Kind.USAGE, metric=span.recorded.metric, quantity=decimal_of(span.recorded.quantity))


def _model(flags: int, span: Span, fuller: Span, cost_of: CostOf) -> Occurrence:
    (_, _, _, _, _, start_ns, _, failed, _, label, provider, _, _, step_type, quality, tokens, _, _, _, _,
     _) = span  # fmt: skip
    if fuller is not span:
        tokens, quality = fuller.tokens, fuller.quality
    counted = 0 if flags & CALL_BELOW else 1
    if quality == "cached_response":
        return Occurrence(Kind.MODEL, label, "SUCCESS", step_type, calls=1, quality=quality)
    status = "ERROR" if failed else "SUCCESS"
    if tokens is None or tokens[0] + tokens[1] == 0:
        unknown = not failed and not flags & COVERED
        return Occurrence(
            Kind.MODEL, label, status, step_type, calls=counted, model_calls=counted,
            reason="no_usage" if unknown else "", quality=quality,
        )  # fmt: skip
    pools, agree = pools_of(*tokens)
    fresh, cache_read, write_5m, write_1h, text, reasoning, audio_in, audio_out = pools
    known: Decimal | None = None
    reason = ""
    cost = cost_of(provider, label, pools, start_ns)
    if isinstance(cost, Unpriced):
        reason = cost.reason
    else:
        known = cost
    return occurrence_from((
        _MODEL, label, status, step_type, "", counted, counted, fresh + audio_in, text + audio_out, reasoning,
        cache_read, write_5m + write_1h, ZERO, known, reason, quality if agree else "inconsistent", None,
    ))  # fmt: skip
