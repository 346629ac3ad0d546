"""The catalog: what a tenant sells, to whom, and at which price. Immutable; applying a file replaces it
whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.metrics import PRODUCT_TYPES, TEMPLATES, BillableUnit, product_type_of
from aforo_collector.domain.money import ZERO
from aforo_collector.domain.pricing.terms import Price

__all__ = [
    "BACKFILL_DAYS",
    "EMPTY_CATALOG",
    "FOREVER_NS",
    "UNKNOWN_CUSTOMERS",
    "UNKNOWN_METRICS",
    "Catalog",
    "Customer",
    "Guard",
    "PriceOverride",
    "Product",
    "RatePlan",
    "Team",
    "Term",
]


FOREVER_NS: Final = 2**63 - 1
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY_NS: Final = 86_400_000_000_000
UNKNOWN_CUSTOMERS: Final = ("accept", "reject")
"""What can become of usage of customers that are not in the catalog."""
UNKNOWN_METRICS: Final = ("reject", "quarantine")
"""What can become of usage of billable units that are not in the catalog."""
BACKFILL_DAYS: Final = (90, 3_650)
"""How old the rows of an upload may be at least and at most."""


@dataclass(frozen=True, slots=True)
class RatePlan:
    """What a product costs: one price per metric, a fee per period and a least charge per period."""

    code: str
    base_fee: Decimal = ZERO
    minimum_charge: Decimal = ZERO
    prices: tuple[Price, ...] = ()
    _by_metric: Mapping[str, Price] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_metric", {price.metric: price for price in self.prices})

    def price_of(self, metric: str) -> Price | None:
        """The price of a metric; None when the plan does not price it."""
        return self._by_metric.get(metric)


@dataclass(frozen=True, slots=True)
class Product:
    """Something sold: its type decides the metric prefix, its plan the price."""

    code: str
    type: str
    rate_plan: str


@dataclass(frozen=True, slots=True)
class Team:
    """A unit of a customer, with the agents and apps that belong to it."""

    id: str
    agents: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """When a customer has one of its products: days in UTC ("2026-01-31"), `until` not included, None for no end."""

    product: str
    start: str | None = None
    until: str | None = None

    @property
    def span_ns(self) -> tuple[int, int]:
        """[start, until) in ns since 1970."""
        start_ns = 0 if self.start is None else _day_ns(self.start)
        return start_ns, FOREVER_NS if self.until is None else _day_ns(self.until)


def _day_ns(day: str) -> int:
    return (date.fromisoformat(day).toordinal() - _EPOCH_DAY) * _DAY_NS


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays, for which products and when, and how it is organised; without a term a product is had always."""

    id: str
    products: tuple[str, ...] = ()
    teams: tuple[Team, ...] = ()
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Guard:
    """A margin rule: kept and exported as written; at most one of customer, plan and product is set."""

    customer: str | None = None
    plan: str | None = None
    product: str | None = None
    scope: str = "period"
    mode: str = "observe"
    session_revenue: Decimal | None = None
    thresholds: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """What a model costs this tenant instead of the public price, in US dollars per million tokens.

    `model` is an exact name or a prefix that ends in `*`. `start` is the first day in UTC ("2026-01-31"),
    None means always. It replaces the public price whole: a pool without a rate of its own costs its parent's
    rate.
    """

    provider: str
    model: str
    start: str | None = None
    rates_mtok: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything a tenant's file says; built by `catalog_file.parse`, which checks what refers to what."""

    currency: str = "USD"
    billable_units: tuple[BillableUnit, ...] = ()
    rate_plans: tuple[RatePlan, ...] = ()
    products: tuple[Product, ...] = ()
    customers: tuple[Customer, ...] = ()
    guards: tuple[Guard, ...] = ()
    price_overrides: tuple[PriceOverride, ...] = ()
    recorded_metrics: tuple[str, ...] = ()
    unknown_customers: str = UNKNOWN_CUSTOMERS[0]
    """What becomes of usage of customers that are not in the catalog: "accept" or "reject"."""
    unknown_metrics: str = UNKNOWN_METRICS[0]
    """What becomes of events of units that are not in the catalog: "reject", or "quarantine", which is no error."""
    backfill_days: int = 0
    """How old the rows of an upload may be that asks for it; 0 leaves that to the collector's setting."""
    _plans: Mapping[str, RatePlan] = field(init=False, repr=False, compare=False)
    _units: Mapping[str, BillableUnit] = field(init=False, repr=False, compare=False)
    _customers: Mapping[str, Customer] = field(init=False, repr=False, compare=False)
    _basis: Mapping[tuple[str, str], RatePlan] = field(init=False, repr=False, compare=False)
    _terms: Mapping[tuple[str, str], tuple[int, int]] = field(init=False, repr=False, compare=False)
    _teams: Mapping[tuple[str, str], str] = field(init=False, repr=False, compare=False)
    _recorded: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plans = {plan.code: plan for plan in self.rate_plans}
        products = {product.code: product for product in self.products}
        basis = {
            (customer.id, products[code].type): plans[products[code].rate_plan]
            for customer in self.customers
            for code in customer.products
        }
        object.__setattr__(self, "_plans", plans)
        object.__setattr__(self, "_units", {**TEMPLATES, **{unit.name: unit for unit in self.billable_units}})
        object.__setattr__(self, "_customers", {customer.id: customer for customer in self.customers})
        object.__setattr__(self, "_basis", basis)
        terms = {
            (customer.id, products[term.product].type): term.span_ns
            for customer in self.customers
            for term in customer.terms
        }
        object.__setattr__(self, "_terms", terms)
        object.__setattr__(self, "_teams", _teams_of(self.customers))
        object.__setattr__(self, "_recorded", frozenset(self.recorded_metrics))

    def basis(self, customer_id: str, product_type: str | None) -> RatePlan | None:
        """The plan that bills a customer's usage of a product type; None when it has no such product.

        An unknown product type, and none, read as AGENTIC_API.
        """
        return self._basis.get((customer_id, product_type_of(product_type)))

    def term_ns(self, customer_id: str, product_type: str | None) -> tuple[int, int] | None:
        """When a customer has its product of a type, as [start, until) in ns since 1970; None for always."""
        return self._terms.get((customer_id, product_type_of(product_type)))

    def basis_at(self, customer_id: str, product_type: str | None, at_ns: int) -> RatePlan | None:
        """The plan that bills what a customer used of a product type at a moment."""
        term = self._terms.get((customer_id, product_type_of(product_type))) if self._terms else None
        if term is not None and not term[0] <= at_ns < term[1]:
            return None
        return self.basis(customer_id, product_type)

    def plans_of(self, customer_id: str) -> tuple[tuple[str, RatePlan], ...]:
        """All (product type, plan) pairs of a customer, in the order of `PRODUCT_TYPES`."""
        pairs = ((kind, self._basis.get((customer_id, kind))) for kind in PRODUCT_TYPES)
        return tuple((kind, plan) for kind, plan in pairs if plan is not None)

    def plan(self, code: str) -> RatePlan | None:
        """The rate plan of that code."""
        return self._plans.get(code)

    def unit(self, metric: str) -> BillableUnit | None:
        """The billable unit of that metric name, built in or of the file; None for an unknown metric."""
        return self._units.get(metric)

    def sampled_metrics(self) -> tuple[str, ...]:
        """The metrics whose units go by the values of their events; see `BillableUnit.sampled`."""
        return tuple(unit.name for unit in self.billable_units if unit.sampled)

    def customer(self, customer_id: str) -> Customer | None:
        """The customer of that id."""
        return self._customers.get(customer_id)

    def team_of(self, customer_id: str, caller: str) -> str:
        """The team that a customer's agent or app belongs to; "" when the customer names no such caller."""
        return self._teams.get((customer_id, caller), "")

    def with_team(self, identity: Identity) -> Identity:
        """Whose usage something is, by the hierarchy: the team of its agent or app, else the one that it names."""
        team_id = self.team_of(identity.customer_id, identity.agent_id or identity.app_id)
        return identity._replace(team_id=team_id) if team_id else identity

    def accepts(self, customer_id: str) -> bool:
        """Whether usage of a customer is recorded."""
        return self.unknown_customers == "accept" or customer_id in self._customers

    def records(self, metric: str) -> bool:
        """Whether the tenant wants usage events of a metric although no plan prices it."""
        return metric in self._recorded or "*" in self._recorded


def _teams_of(customers: tuple[Customer, ...]) -> dict[tuple[str, str], str]:
    """(customer, agent or app) → team; the first team that names a caller has it."""
    found: dict[tuple[str, str], str] = {}
    for customer in customers:
        for team in customer.teams:
            for caller in (*team.agents, *team.apps):
                found.setdefault((customer.id, caller), team.id)
    return found


EMPTY_CATALOG: Final = Catalog()
"""What a tenant has before its first file: US dollars, the built-in units, nothing sold."""
