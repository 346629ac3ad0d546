"""A session as users see it."""

from __future__ import annotations

from typing import Any

from aforo_collector.domain.identity import DEFAULT_PRODUCT_TYPE
from aforo_collector.domain.money import plain
from aforo_collector.domain.session import NS_PER_MS, Policy, Session, Totals

from .wire import instant, tokens_view


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "toolCalls": totals.tool_calls,
        "toolCallsByName": {
            name: {"calls": calls, "succeeded": succeeded}
            for name, (calls, succeeded) in sorted(totals.tools.items())
        },
        "steps": totals.steps,
        "modelCalls": totals.model_calls,
        "tokens": tokens_view(
            totals.input, totals.output, totals.reasoning, totals.cache_read, totals.cache_write
        ),
        "providerCost": plain(totals.provider_cost),
        "unpricedCalls": totals.unpriced_calls,
        "revenue": plain(totals.revenue),
    }


def session_totals(session: Session) -> dict[str, Any]:
    """The totals of a session, as its final event carries them."""
    return {
        **_totals(session.totals),
        "activeDurationMs": session.active_ns // NS_PER_MS,
        "wallDurationMs": (session.last_ns - session.first_ns) // NS_PER_MS,
    }


def session_view(session: Session, now_ns: int, policy: Policy) -> dict[str, Any]:
    """A session as the reading endpoints give it."""
    lead = session.lead
    view = {
        "sessionId": session.session_id,
        "customerId": session.customer_id,
        "teamId": lead.team_id or None,
        "agentId": lead.agent_id or None,
        "productType": lead.product_type or DEFAULT_PRODUCT_TYPE,
        "state": session.state(now_ns, policy).value,
        "startedAt": instant(session.first_ns),
        "lastActivityAt": instant(session.last_ns),
        "closedAt": instant(session.closed_ns),
        "closeReason": session.close_reason or None,
        "totals": session_totals(session),
    }
    if session.late != Totals():
        view["adjustments"] = _totals(session.late)
    return view
