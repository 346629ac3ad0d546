"""What must fit together across the tables of a catalog file: codes are unique, references lead somewhere."""

from __future__ import annotations

from collections.abc import Iterable

from aforo_collector.domain.catalog import Customer, Guard, PriceOverride, Product, RatePlan
from aforo_collector.domain.fields import Fields
from aforo_collector.domain.metrics import TEMPLATES, BillableUnit

__all__ = ["check_references"]


def check_references(
    fields: Fields,
    currency: str,
    units: tuple[BillableUnit, ...],
    plans: tuple[RatePlan, ...],
    products: tuple[Product, ...],
    customers: tuple[Customer, ...],
    guards: tuple[Guard, ...],
    overrides: tuple[PriceOverride, ...],
    recorded: tuple[str, ...],
) -> None:
    """Reports on `fields` (the whole file) what is named twice, named but not there, or ambiguous."""
    _unique(fields, "billable_units", "name", (unit.name for unit in units))
    _unique(fields, "rate_plans", "code", (plan.code for plan in plans))
    _unique(fields, "products", "code", (product.code for product in products))
    _unique(fields, "customers", "id", (customer.id for customer in customers))
    _unique(
        fields, "price_overrides", "from", ((o.provider.lower(), o.model.lower(), o.start) for o in overrides)
    )
    codes = {plan.code for plan in plans}
    for n, product in enumerate(products):
        if product.rate_plan and product.rate_plan not in codes:
            fields.report(f"products[{n}].rate_plan", f"no rate plan {product.rate_plan!r}")
    _check_customers(fields, products, customers)
    _check_guards(fields, guards, codes, {p.code for p in products}, {c.id for c in customers})
    metrics = {*TEMPLATES, *(unit.name for unit in units), "*"}
    for n, metric in enumerate(recorded):
        if metric not in metrics:
            fields.report(
                f"recorded_metrics[{n}]", f"{metric!r} is neither built in nor one of billable_units"
            )
    if currency != "USD":
        for n, plan in enumerate(plans):
            for m, price in enumerate(plan.prices):
                if price.model == "COST_PLUS":
                    fields.report(
                        f"rate_plans[{n}].prices[{m}].model",
                        f"COST_PLUS passes on US dollars, but the catalog is in {currency}",
                    )


def _check_customers(fields: Fields, products: tuple[Product, ...], customers: tuple[Customer, ...]) -> None:
    types = {product.code: product.type for product in products}
    for n, customer in enumerate(customers):
        path = f"customers[{n}]"
        bought: dict[str, str] = {}
        for m, code in enumerate(customer.products):
            kind = types.get(code)
            if kind is None:
                fields.report(f"{path}.products[{m}]", f"no product {code!r}")
            elif kind in bought:
                fields.report(
                    f"{path}.products[{m}]",
                    f"ambiguous: {code!r} and {bought[kind]!r} are both {kind}; have one of each type",
                )
            else:
                bought[kind] = code
        _unique(fields, f"{path}.terms", "product", (term.product for term in customer.terms))
        for m, term in enumerate(customer.terms):
            if term.product not in customer.products:
                fields.report(f"{path}.terms[{m}].product", f"the customer does not have {term.product!r}")
        _unique(fields, f"{path}.teams", "id", (team.id for team in customer.teams))
        teams: dict[str, str] = {}
        for m, team in enumerate(customer.teams):
            for caller in (*team.agents, *team.apps):
                if caller in teams:
                    fields.report(
                        f"{path}.teams[{m}]", f"ambiguous: {caller!r} is in team {teams[caller]!r} already"
                    )
                teams.setdefault(caller, team.id)


def _check_guards(
    fields: Fields, guards: tuple[Guard, ...], plans: set[str], products: set[str], customers: set[str]
) -> None:
    for n, guard in enumerate(guards):
        for key, value, known in (
            ("customer", guard.customer, customers),
            ("plan", guard.plan, plans),
            ("product", guard.product, products),
        ):
            if value is not None and value not in known:
                fields.report(f"guards[{n}].{key}", f"no {key} {value!r}")


def _unique(fields: Fields, tables: str, key: str, values: Iterable[object]) -> None:
    first: dict[object, int] = {}
    for n, value in enumerate(values):
        if value and value in first:
            fields.report(f"{tables}[{n}].{key}", f"the same as {tables}[{first[value]}]")
        first.setdefault(value, n)
