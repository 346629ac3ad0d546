"""All routes, by noun."""

from __future__ import annotations

from . import analytics, catalog, health, intake, invoices, prices, quota, sessions, usage_events

ROUTERS = (
    sessions.router,
    usage_events.router,
    analytics.router,
    invoices.router,
    quota.router,
    intake.router,
    catalog.router,
    prices.router,
    health.router,
)
