"""The catalog file: read with all its problems at once, and written back so that it reads the same.

The file is a table of surfaces section 7, as TOML or JSON gives it: `parse(export(catalog)) == catalog`.
Keys of ours beside those of the surfaces: `recorded_metrics = ["agentic_api.steps"]` (or `["*"]`), the
metrics written as usage events although no plan prices them; `unknown_customers = "reject"` (or `"accept"`,
which is what holds without it), whether usage of customers that are not in the file is recorded;
`unknown_metrics = "quarantine"` (or `"reject"`), whether events of units that are not in the file wait for
them without being an error to their sender; `backfill_days`, how old the rows of an upload may be;
`event_field` of a billable unit; `overage` of a price with `included`: CHARGE, BLOCK or IGNORE; `apps` of a
team; `[[customers.terms]]` with `product` and the days in UTC `from` and `until` (not included), for
products that a customer does not have always; and `[[price_overrides]]` with `provider`, `model` (exact, or
a prefix that ends in `*`), `from` (a day in UTC, optional) and US dollars per million tokens under
`input_mtok output_mtok cache_read_mtok cache_write_mtok cache_write_1h_mtok reasoning_mtok input_audio_mtok
output_audio_mtok`. Guards are checked and kept; nothing acts on them yet.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from aforo_collector.domain.aggregation import ADDITIVE, AGGREGATIONS, aggregation_of
from aforo_collector.domain.catalog import (
    BACKFILL_DAYS,
    UNKNOWN_CUSTOMERS,
    UNKNOWN_METRICS,
    Catalog,
    Customer,
    Guard,
    PriceOverride,
    Product,
    RatePlan,
    Team,
    Term,
)
from aforo_collector.domain.catalog_checks import check_references
from aforo_collector.domain.catalog_export import export
from aforo_collector.domain.conditions import OPERATORS, Condition
from aforo_collector.domain.fields import Fields
from aforo_collector.domain.metrics import (
    PRODUCT_TYPES,
    TEMPLATES,
    BillableUnit,
)
from aforo_collector.domain.money import MoneyError, minor_units
from aforo_collector.domain.pricing.flat_rate import FlatRate
from aforo_collector.domain.pricing.per_unit import PerUnit
from aforo_collector.domain.pricing.table import MODEL_NAMES, READERS
from aforo_collector.domain.pricing.terms import Price, Terms

__all__ = ["OVERRIDE_KEYS", "CatalogError", "export", "parse"]

OVERRIDE_KEYS: Final = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "reasoning_mtok",
    "input_audio_mtok",
    "output_audio_mtok",
)
_RESERVED: Final = ("base_fee", "minimum_charge")
_LEVELS: Final = ("L1", "L2", "L3")
_PROBLEMS_SHOWN_MAX: Final = 50


class CatalogError(ValueError):
    """A catalog file that cannot be used; `problems` names every one with its path. Nothing was changed."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        shown = problems[:_PROBLEMS_SHOWN_MAX]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        super().__init__(
            f"the catalog has {count}; nothing was changed, correct the file and apply it again:\n  "
            + "\n  ".join(shown)
        )


def parse(document: object) -> Catalog:
    """The catalog that a file's table states; raises CatalogError with all problems found."""
    problems: list[str] = []
    fields = Fields(document, "", problems)
    currency = _currency(fields)
    units = tuple(_unit(table) for table in fields.tables("billable_units"))
    known = {**TEMPLATES, **{unit.name: unit for unit in units}}
    plans = tuple(_plan(table, known) for table in fields.tables("rate_plans"))
    products = tuple(_product(table) for table in fields.tables("products"))
    customers = tuple(_customer(table) for table in fields.tables("customers"))
    guards = tuple(_guard(table) for table in fields.tables("guards"))
    overrides = tuple(_override(table) for table in fields.tables("price_overrides"))
    recorded = fields.texts("recorded_metrics")
    unknown = fields.choice("unknown_customers", UNKNOWN_CUSTOMERS, UNKNOWN_CUSTOMERS[0])
    metrics = fields.choice("unknown_metrics", UNKNOWN_METRICS, UNKNOWN_METRICS[0])
    backfill = fields.whole("backfill_days", *BACKFILL_DAYS)
    fields.end()
    parts = (currency, units, plans, products, customers, guards, overrides, recorded)
    check_references(fields, *parts)
    if problems:
        raise CatalogError(problems)
    return Catalog(*parts, unknown, metrics, backfill)


def _currency(fields: Fields) -> str:
    currency = fields.text("currency", "USD")
    try:
        minor_units(currency)
    except MoneyError as error:
        fields.report("currency", str(error))
    return currency


def _unit(fields: Fields) -> BillableUnit:
    name = fields.text("name")
    if name in TEMPLATES:
        fields.report("name", f"{name!r} is built in and exists without set-up; remove it")
    elif name in _RESERVED:
        fields.report("name", f"{name!r} names a line of every invoice; choose another name")
    return BillableUnit(
        name=name,
        aggregation=_aggregation(fields),
        conditions=tuple(
            Condition(table.text("field"), table.choice("operator", OPERATORS), table.text("value"))
            for table in fields.tables("filter")
        ),
        event_field=fields.optional_text("event_field"),
    )


def _aggregation(fields: Fields) -> str:
    stated = fields.text("aggregation", "SUM")
    known = aggregation_of(stated)
    if known is None:
        fields.report("aggregation", f"{stated!r} is not one of {', '.join(AGGREGATIONS)}")
    return known or "SUM"


def _plan(fields: Fields, units: dict[str, BillableUnit]) -> RatePlan:
    code = fields.text("code")
    base_fee = fields.decimal("base_fee")
    minimum_charge = fields.decimal("minimum_charge")
    prices: list[Price] = []
    for table in fields.tables("prices"):
        price = _price(table, units, has_base_fee=bool(base_fee))
        if price is None:
            continue
        if any(price.metric == other.metric for other in prices):
            table.report("metric", f"{price.metric!r} has a price in this plan already")
        prices.append(price)
    return RatePlan(code, base_fee, minimum_charge, tuple(prices))


def _price(fields: Fields, units: dict[str, BillableUnit], *, has_base_fee: bool) -> Price | None:
    metric = fields.text("metric")
    model = fields.choice("model", MODEL_NAMES)
    reader = READERS.get(model)
    if reader is None:
        if model in MODEL_NAMES:
            fields.report("model", f"{model} is not available in this version; use {', '.join(READERS)}")
        fields.skip()
        return None
    terms = reader(fields, metric)
    if isinstance(terms, FlatRate) and not has_base_fee and terms.base_fee is None:
        fields.report("base_fee", "missing; give it here or on the plan")
    unit = units.get(metric)
    if unit is None:
        if metric:
            fields.report("metric", f"{metric!r} is neither built in nor one of billable_units")
        return None
    _check_aggregation(fields, unit, model, terms)
    if terms.dimension is not None and unit.dimensions is not None and terms.dimension not in unit.dimensions:
        known = f"events of {metric} have {', '.join(unit.dimensions) or 'none'}"
        fields.report("dimension", f"{terms.dimension!r} is no dimension here; {known}")
    return Price(metric, model, terms, unit.aggregation)


def _check_aggregation(fields: Fields, unit: BillableUnit, model: str, terms: Terms) -> None:
    """Reports what cannot be said of a number that comes about as the unit's does."""
    aggregation = unit.aggregation
    if model == "COST_PLUS" and aggregation != "SUM":
        fields.report("metric", f"{aggregation} of events is no cost; COST_PLUS needs aggregation SUM")
    if aggregation == "COUNT_DISTINCT" and unit.event_field is None:
        fields.report(
            "metric", f"{unit.name!r} does not say what is to be distinct; give the unit event_field"
        )
    if aggregation in ADDITIVE:
        return
    if terms.limit is not None:
        fields.report("overage", f"BLOCK needs what is used up, SUM or COUNT; {aggregation} is not")
    if isinstance(terms, PerUnit) and set(terms.outcome_weights.values()) - {0, 1}:
        fields.report("outcome_weights", f"{aggregation} takes an event whole or not at all: weigh 0 or 1")


def _product(fields: Fields) -> Product:
    return Product(fields.text("code"), fields.choice("type", PRODUCT_TYPES), fields.text("rate_plan"))


def _customer(fields: Fields) -> Customer:
    return Customer(
        id=fields.text("id"),
        products=fields.texts("products"),
        teams=tuple(
            Team(table.text("id"), table.texts("agents"), table.texts("apps"))
            for table in fields.tables("teams")
        ),
        terms=tuple(_term(table) for table in fields.tables("terms")),
    )


def _term(fields: Fields) -> Term:
    days = {key: fields.optional_text(key) for key in ("from", "until")}
    for key, day in days.items():
        if day is not None and not (_is_day(day) and day >= "1970"):
            fields.report(key, f"{day!r} is not a day like 2026-01-31")
    term = Term(fields.text("product"), days["from"], days["until"])
    if term.start is None and term.until is None:
        fields.report("", "names neither from nor until; without a term a product is had always")
    if term.start is not None and term.until is not None and term.start >= term.until:
        fields.report("until", f"{term.until} is not after {term.start}")
    return term


def _guard(fields: Fields) -> Guard:
    guard = Guard(
        customer=fields.optional_text("customer"),
        plan=fields.optional_text("plan"),
        product=fields.optional_text("product"),
        scope=fields.choice("scope", ("session", "period")),
        mode=fields.choice("mode", ("observe", "alert", "enforce")),
        session_revenue=fields.optional_decimal("session_revenue"),
        thresholds=fields.decimals("thresholds"),
    )
    if sum(target is not None for target in (guard.customer, guard.plan, guard.product)) > 1:
        fields.report("", "names more than one of customer, plan and product; write one guard for each")
    if guard.session_revenue is not None and guard.scope == "period":
        fields.report("session_revenue", "belongs to a guard of scope session")
    levels = [guard.thresholds[level] for level in _LEVELS if level in guard.thresholds]
    if unknown := sorted(set(guard.thresholds).difference(_LEVELS)):
        fields.report(
            "thresholds", f"unknown level {', '.join(unknown)}; the levels are {', '.join(_LEVELS)}"
        )
    if levels != sorted(levels, reverse=True) or any(level > 1 for level in levels):
        fields.report("thresholds", "not falling from L1 to L3, each a fraction of at most 1")
    return guard


def _override(fields: Fields) -> PriceOverride:
    start = fields.optional_text("from")
    if start is not None and not _is_day(start):
        fields.report("from", f"{start!r} is not a day like 2026-01-31")
    rates = {key: fields.optional_decimal(key) for key in OVERRIDE_KEYS}
    override = PriceOverride(
        provider=fields.text("provider"),
        model=fields.text("model"),
        start=start,
        rates_mtok={key: rate for key, rate in rates.items() if rate is not None},
    )
    if not override.rates_mtok.keys() & {"input_mtok", "output_mtok"}:
        fields.report(
            "", "names neither input_mtok nor output_mtok; an override replaces the whole public price"
        )
    if "*" in override.model.removesuffix("*"):
        fields.report("model", "has * before its end; a prefix ends in the only *")
    return override


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
