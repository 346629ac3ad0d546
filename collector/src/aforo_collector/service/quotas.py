"""Quota checks: a customer's usage of the current period against the limits of its plans' prices."""

from __future__ import annotations

from decimal import Decimal

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.money import ZERO
from aforo_collector.domain.quota import Decision, decide
from aforo_collector.domain.session import NS_PER_MS
from aforo_collector.store.sqlite_reads import Snapshot
from aforo_collector.views import Wire, quota_view

from .invoicing import Billing, period_of


def check_quota(
    snapshot: Snapshot, catalog: Catalog, customer_id: str, metric: str | None, asked: Decimal, now_ns: int
) -> Wire:
    """Whether a customer may use `asked` more of a metric this month in UTC; see `views.quota_view`.

    Without a metric the gravest answer of all the customer's quotas, as they stand now.
    """
    if catalog.customer(customer_id) is None:
        return allowed(f"customer {customer_id!r} is not in the catalog: there is no quota")
    if metric is not None and catalog.unit(metric) is None:
        return allowed(f"there is no billable unit {metric!r}, and no quota of it")
    plans = {
        plan.code: plan
        for product_type, plan in catalog.plans_of(customer_id)
        if catalog.basis_at(customer_id, product_type, now_ns) is not None
    }
    limited = {
        price.metric
        for plan in plans.values()
        for price in plan.prices
        if price.terms.limit is not None and metric in (None, price.metric)
    }
    period = period_of(None, None, now_ns)
    billing = Billing(snapshot, catalog, customer_id, period)
    standings = [
        decide(name, plan.code, used, price.terms.limit, ZERO if metric is None else asked)
        for name in sorted(limited)
        for plan, price, used in billing.used(name)
        if price.terms.limit is not None
    ]
    if not standings:
        return allowed(
            f"there is no limit of {metric or 'anything'} in the plans of customer {customer_id!r}"
        )
    gravest = max(standings, key=lambda standing: (standing.decision, standing.used - standing.limit))
    return quota_view(gravest, -((now_ns - period.end_ns) // NS_PER_MS))


def allowed(reason: str) -> Wire:
    """The answer where no quota speaks against it."""
    return {"decision": Decision.ALLOW.name, "reason": reason}
