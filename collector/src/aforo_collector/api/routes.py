"""All routes, by noun."""

from __future__ import annotations

from . import (
    analytics,
    api_keys,
    catalog,
    customers,
    health,
    intake,
    invoices,
    managing,
    oauth,
    prices,
    quota,
    sessions,
    uploads,
    usage_events,
    webhook_deliveries,
    webhook_sources,
    webhooks,
)

ROUTERS = (
    sessions.router,
    usage_events.router,
    analytics.router,
    uploads.router,
    invoices.router,
    quota.router,
    intake.router,
    catalog.router,
    customers.router,
    *managing.ROUTERS,
    api_keys.router,
    oauth.router,
    prices.router,
    webhooks.router,
    webhook_sources.router,
    webhook_deliveries.router,
    health.router,
)
