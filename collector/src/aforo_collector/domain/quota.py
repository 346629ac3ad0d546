"""Quotas: whether more may be used of a metric whose price has a limit for the period."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Final, NamedTuple

from aforo_collector.domain.money import CONTEXT, ZERO, plain

__all__ = ["Decision", "Standing", "decide"]

_WARN_AT: Final = Decimal("0.95")


class Decision(IntEnum):
    """What a caller should do, from harmless to grave."""

    ALLOW = 0
    WARN = 1
    """Go on; nearly all is used up."""
    DENY = 2
    """Stop until the period ends."""


class Standing(NamedTuple):
    """How a customer stands to one quota of the plan `tier`."""

    decision: Decision
    reason: str
    metric: str
    used: Decimal
    limit: Decimal
    tier: str


def decide(metric: str, tier: str, used: Decimal, limit: Decimal, asked: Decimal = ZERO) -> Standing:
    """Whether `asked` more may be used where `used` of `limit` is: never beyond it, with a warning from 95 % on."""
    after = CONTEXT.add(used, asked)
    so_far = f"{plain(used)} of {plain(limit)} {metric} is used in this period"
    if used >= limit:
        decision, reason = Decision.DENY, f"quota exceeded: {so_far}"
    elif after > limit:
        decision, reason = Decision.DENY, f"quota exceeded: {so_far}, which leaves less than {plain(asked)}"
    elif after >= CONTEXT.multiply(limit, _WARN_AT):
        decision, reason = Decision.WARN, f"approaching the limit: {so_far}"
    else:
        decision, reason = Decision.ALLOW, f"within the quota: {so_far}"
    return Standing(decision, reason, metric, used, limit, tier)
