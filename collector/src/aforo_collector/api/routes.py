"""All routes, by noun."""

from __future__ import annotations

from . import (
    catalog,
    health,
    intake,
    invoices,
    prices,
    quota,
    sessions,
    usage_events,
    webhook_deliveries,
    webhook_sources,
    webhooks,
)

ROUTERS = (
    sessions.router,
    usage_events.router,
    invoices.router,
    quota.router,
    intake.router,
    catalog.router,
    prices.router,
    webhooks.router,
    webhook_sources.router,
    webhook_deliveries.router,
    health.router,
)
