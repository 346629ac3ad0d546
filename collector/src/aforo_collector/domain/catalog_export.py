"""Writing a catalog back as the table that `catalog_file.parse` reads."""

from __future__ import annotations

from aforo_collector.domain.catalog import (
    UNKNOWN_CUSTOMERS,
    UNKNOWN_METRICS,
    Catalog,
    Customer,
    Guard,
    PriceOverride,
    RatePlan,
)
from aforo_collector.domain.metrics import BillableUnit
from aforo_collector.domain.money import plain

__all__ = ["export"]


def export(catalog: Catalog) -> dict[str, object]:
    """The catalog in the shape of its file, decimals as canonical text, without what is empty."""
    document: dict[str, object] = {"currency": catalog.currency}
    tables: dict[str, list[dict[str, object]]] = {
        "billable_units": [_unit(unit) for unit in catalog.billable_units],
        "rate_plans": [_plan(plan) for plan in catalog.rate_plans],
        "products": [
            {"code": product.code, "type": product.type, "rate_plan": product.rate_plan}
            for product in catalog.products
        ],
        "customers": [_customer(customer) for customer in catalog.customers],
        "guards": [_guard(guard) for guard in catalog.guards],
        "price_overrides": [_override(override) for override in catalog.price_overrides],
    }
    # TOML wants plain keys before tables, so the list of texts goes first.
    if catalog.unknown_customers != UNKNOWN_CUSTOMERS[0]:
        document["unknown_customers"] = catalog.unknown_customers
    if catalog.unknown_metrics != UNKNOWN_METRICS[0]:
        document["unknown_metrics"] = catalog.unknown_metrics
    if catalog.backfill_days:
        document["backfill_days"] = catalog.backfill_days
    if catalog.recorded_metrics:
        document["recorded_metrics"] = list(catalog.recorded_metrics)
    document.update({name: rows for name, rows in tables.items() if rows})
    return document


def _unit(unit: BillableUnit) -> dict[str, object]:
    row: dict[str, object] = {"name": unit.name, "aggregation": unit.aggregation}
    if unit.event_field is not None:
        row["event_field"] = unit.event_field
    if unit.conditions:
        row["filter"] = [
            {"field": condition.field, "operator": condition.operator, "value": condition.value}
            for condition in unit.conditions
        ]
    return row


def _plan(plan: RatePlan) -> dict[str, object]:
    row: dict[str, object] = {
        "code": plan.code,
        "base_fee": plain(plan.base_fee),
        "minimum_charge": plain(plan.minimum_charge),
    }
    if plan.prices:
        row["prices"] = [
            {"metric": price.metric, "model": price.model, **price.terms.parameters()}
            for price in plan.prices
        ]
    return row


def _customer(customer: Customer) -> dict[str, object]:
    row: dict[str, object] = {"id": customer.id}
    if customer.products:
        row["products"] = list(customer.products)
    if customer.teams:
        teams = [
            {"id": team.id, "agents": list(team.agents), "apps": list(team.apps)} for team in customer.teams
        ]
        row["teams"] = [{key: value for key, value in team.items() if value} for team in teams]
    if customer.terms:
        terms = [
            {"product": term.product, "from": term.start, "until": term.until} for term in customer.terms
        ]
        row["terms"] = [{key: value for key, value in term.items() if value} for term in terms]
    return row


def _guard(guard: Guard) -> dict[str, object]:
    row: dict[str, object] = {
        key: value
        for key, value in (("customer", guard.customer), ("plan", guard.plan), ("product", guard.product))
        if value is not None
    }
    row |= {"scope": guard.scope, "mode": guard.mode}
    if guard.session_revenue is not None:
        row["session_revenue"] = plain(guard.session_revenue)
    if guard.thresholds:
        row["thresholds"] = {level: plain(value) for level, value in guard.thresholds.items()}
    return row


def _override(override: PriceOverride) -> dict[str, object]:
    row: dict[str, object] = {"provider": override.provider, "model": override.model}
    if override.start is not None:
        row["from"] = override.start
    return row | {key: plain(rate) for key, rate in override.rates_mtok.items()}
