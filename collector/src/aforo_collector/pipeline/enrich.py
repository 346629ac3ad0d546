"""Enrich: whose usage an event is, from what it says and what the catalog knows."""

from __future__ import annotations

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.metrics import PRODUCT_TYPES, prefix_of
from aforo_collector.domain.submission import UsageEvent

_BY_PREFIX = {prefix_of(product_type): product_type for product_type in PRODUCT_TYPES}


def whose_of_event(event: UsageEvent) -> tuple[object, ...]:
    """All that an event says of whose it is: events that agree in it have one payer and one session."""
    details = event.details
    return (
        event.customer_id, event.metric, event.product_type, event.session_id, event.agent_id, event.trace_id,
        details.get("appId"), details.get("teamId"),
    )  # fmt: skip


def payer_of_event(event: UsageEvent, catalog: Catalog, caller: Identity) -> Identity:
    """Customer, team, agent or app and product type of an event; no session.

    The team is what the credential says, else the event; the catalog may know better (`Catalog.with_team`).
    """
    app = caller.app_id or _stated(event, "appId")
    team = caller.team_id or _stated(event, "teamId")
    return Identity(event.customer_id, team, event.agent_id, app, product_type_of_event(event, catalog))


def product_type_of_event(event: UsageEvent, catalog: Catalog) -> str:
    """What an event is usage of: as stated, as its metric says, or as what the customer bought says."""
    if event.product_type:
        return event.product_type
    prefix, dot, _ = event.metric.partition(".")
    if dot and prefix in _BY_PREFIX:
        return _BY_PREFIX[prefix]
    plans = catalog.plans_of(event.customer_id)
    for product_type, plan in plans:
        if plan.price_of(event.metric) is not None:
            return product_type
    if len(plans) == 1:
        return plans[0][0]
    return "AGENTIC_API" if event.trace_id else "API"


def session_of_event(event: UsageEvent) -> str:
    """The session that an event belongs to: its own, else its trace; "" for none."""
    return event.session_id or event.trace_id[:64]


def _stated(event: UsageEvent, name: str) -> str:
    found = event.details.get(name)
    return found if isinstance(found, str) else ""
