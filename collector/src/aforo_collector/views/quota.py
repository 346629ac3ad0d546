"""How a customer stands to a quota, as gateways read it (aforo-platform section 1.10)."""

from __future__ import annotations

from decimal import Decimal

from aforo_collector.domain.money import ZERO, plain
from aforo_collector.domain.quota import Decision, Standing

from .wire import Wire


def quota_view(standing: Standing, period_left_ms: int) -> Wire:
    """The decision with what it goes by: `currentUsage` and `limit` are decimals, what does not apply is absent."""
    left: Decimal = max(ZERO, standing.limit - standing.used)
    view: Wire = {
        "decision": standing.decision.name,
        "reason": standing.reason,
        "currentUsage": standing.used,
        "limit": standing.limit,
        "tierName": standing.tier,
        "headers": {"X-RateLimit-Limit": plain(standing.limit), "X-RateLimit-Remaining": plain(left)},
    }
    if standing.decision is Decision.DENY:
        view["retryAfterMs"] = period_left_ms
    return view
