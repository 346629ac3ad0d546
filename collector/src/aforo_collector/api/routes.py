"""All routes, by noun."""

from __future__ import annotations

from . import catalog, health, intake, invoices, prices, quota, sessions, uploads, usage_events

ROUTERS = (
    sessions.router,
    usage_events.router,
    uploads.router,
    invoices.router,
    quota.router,
    intake.router,
    catalog.router,
    prices.router,
    health.router,
)
