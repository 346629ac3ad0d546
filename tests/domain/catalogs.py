"""Catalogs for tests: the one of surfaces section 7, generated ones, and plans from price tables."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from aforo_collector.domain.aggregation import AGGREGATIONS, Tally
from aforo_collector.domain.catalog import RatePlan
from aforo_collector.domain.catalog_file import OVERRIDE_KEYS, parse
from aforo_collector.domain.conditions import OPERATORS
from aforo_collector.domain.metrics import PRODUCT_TYPES, TEMPLATES
from aforo_collector.domain.money import plain
from aforo_collector.domain.pricing.terms import OVERAGES, Usage
from hypothesis import strategies as st

SURFACES = """
currency = "USD"
recorded_metrics = ["agentic_api.steps"]
[[billable_units]]
name = "translations"
aggregation = "SUM"
filter = [{ field = "status_code", operator = "LESS_THAN", value = "400" }]
[[rate_plans]]
code = "pro"
base_fee = "0"
minimum_charge = "0"
[[rate_plans.prices]]
metric = "agentic_api.tool_calls"
model = "PER_UNIT"
unit_price = "0.002"
dimension = "toolName"
prices = { lookup = "0.001", db_write = "0.05", ai_analysis = "0.10" }
outcome_weights = { SUCCESS = "1" }
[[rate_plans.prices]]
metric = "agentic_api.provider_cost"
model = "COST_PLUS"
markup = "0.20"
[[products]]
code = "research"
type = "AGENTIC_API"
rate_plan = "pro"
[[customers]]
id = "acme"
products = ["research"]
[[customers.teams]]
id = "science"
agents = ["researcher-1"]
[[guards]]
customer = "acme"
scope = "session"
mode = "enforce"
session_revenue = "1.00"
thresholds = { L1 = "0.30", L2 = "0.20", L3 = "0.10" }
[[price_overrides]]
provider = "openai"
model = "gpt-4o*"
from = "2026-01-01"
input_mtok = "2.00"
output_mtok = "8.00"
"""


def plan_of(*prices: dict[str, object], base_fee: str = "0", minimum_charge: str = "0") -> RatePlan:
    """A rate plan from price tables; the unit `calls` and one of each aggregation (`counted` for COUNT) exist."""
    units = [{"name": "calls"}, {"name": "counted", "aggregation": "COUNT"}]
    units += [{"name": name, "aggregation": name, "event_field": "n"} for name in AGGREGATIONS]
    plan = {"code": "plan", "base_fee": base_fee, "minimum_charge": minimum_charge, "prices": list(prices)}
    return parse({"billable_units": units, "rate_plans": [plan]}).rate_plans[0]


def used(metric: str, quantity: str, event_count: int = 1, **dimensions: str) -> Usage:
    """One entry of usage."""
    return Usage(metric, dimensions, Decimal(quantity), event_count)


def sampled(metric: str, *values: str, **dimensions: str) -> Usage:
    """Events of a unit of the aggregation that it is called by, one for each value."""
    return Usage(metric, dimensions, Decimal(0), len(values), Tally(metric, Counter(values)))


decimals = st.decimals(min_value=0, max_value=1000, places=6).map(plain)
names = st.sampled_from(["lookup", "db_write", "ai_analysis", "other"])
per_unit = st.one_of(
    st.fixed_dictionaries(
        {"unit_price": decimals},
        optional={
            "included": decimals,
            "minimum_charge": decimals,
            "outcome_weights": st.dictionaries(names, decimals),
        },
    ),
    st.fixed_dictionaries(
        {
            "unit_price": decimals,
            "included": decimals.filter(lambda text: text != "0"),
            "overage": st.sampled_from(OVERAGES),
        }
    ),
    st.fixed_dictionaries(
        {"dimension": st.just("toolName"), "prices": st.dictionaries(names, decimals, min_size=1)},
        optional={"unit_price": decimals, "minimum_charge": decimals},
    ),
    st.fixed_dictionaries(
        {
            "dimension": st.just("toolName"),
            "unit_price": decimals,
            "multipliers": st.dictionaries(names, decimals),
        },
        optional={
            "outcome_weights": st.dictionaries(st.sampled_from(["SUCCESS", "PARTIAL", "ERROR"]), decimals)
        },
    ),
).map(lambda terms: {"model": "PER_UNIT", **terms})
flat_rate = st.fixed_dictionaries({"model": st.just("FLAT_RATE"), "base_fee": decimals})
cost_plus = st.fixed_dictionaries(
    {"model": st.just("COST_PLUS"), "markup": decimals},
    optional={"dimension": st.sampled_from(["toolName", "model"])},
)
TOOLS, COST, FLAT = "agentic_api.tool_calls", "agentic_api.provider_cost", "mcp_server.sessions"


@st.composite
def price_tables(draw: st.DrawFn) -> list[dict[str, object]]:
    """Prices of a plan for some of three metrics, one of each model."""
    tables = [
        {"metric": TOOLS, **draw(per_unit)},
        {"metric": COST, **draw(cost_plus)},
        {"metric": FLAT, **draw(flat_rate)},
    ]
    return draw(st.lists(st.sampled_from(tables), unique_by=lambda table: table["metric"]))


usages = st.lists(
    st.builds(
        Usage,
        st.sampled_from([TOOLS, COST, FLAT, "unpriced"]),
        st.fixed_dictionaries(
            {},
            optional={
                "toolName": names | st.just(""),
                "model": st.sampled_from(["gpt-4o", "haiku"]),
                "executionStatus": st.sampled_from(["SUCCESS", "PARTIAL", "ERROR"]),
            },
        ),
        st.decimals(min_value=0, max_value=10**6, places=6),
        st.integers(1, 5),
    ),
    max_size=12,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, object]:
    """Any catalog file that holds together."""
    codes = st.lists(st.text("abcäß-1", min_size=1, max_size=4), unique=True, max_size=3)
    units, plans, products = draw(codes), draw(codes), draw(codes)
    document: dict[str, object] = {
        "currency": "USD",
        "billable_units": [
            {
                "name": f"unit-{name}",
                "aggregation": draw(st.sampled_from(AGGREGATIONS)),
                "event_field": draw(names),
                "filter": [{"field": "status", "operator": draw(st.sampled_from(OPERATORS)), "value": "4"}],
            }
            for name in units
        ],
        "rate_plans": [
            {
                "code": code,
                "base_fee": draw(decimals),
                "minimum_charge": draw(decimals),
                "prices": draw(price_tables()),
            }
            for code in plans
        ],
        "recorded_metrics": draw(
            st.lists(st.sampled_from([*sorted(TEMPLATES), "*"]), unique=True, max_size=3)
        ),
    }
    if draw(st.booleans()):
        document |= {"unknown_metrics": "quarantine", "backfill_days": draw(st.integers(90, 3_650))}
    kinds = {code: draw(st.sampled_from(PRODUCT_TYPES)) for code in products} if plans else {}
    document["products"] = [
        {"code": code, "type": kind, "rate_plan": draw(st.sampled_from(plans))}
        for code, kind in kinds.items()
    ]
    sold = sorted({kind: code for code, kind in kinds.items()}.values())
    days = st.sampled_from(
        ({"from": "2026-01-31"}, {"until": "2026-03-01"}, {"from": "1999-12-31", "until": "2026-03-01"})
    )
    document["customers"] = [
        {
            "id": customer,
            "products": sold,
            "terms": [{"product": code, **draw(days)} for code in sold if draw(st.booleans())],
            "teams": [
                {"id": team, "agents": [f"{team}-agent"], "apps": [f"{team}-app"]} for team in draw(codes)
            ],
        }
        for customer in draw(codes)
    ]
    document["guards"] = [
        {"scope": "session", "mode": "alert", "thresholds": {"L1": "0.3", "L3": draw(st.just("0.1"))}}
    ]
    document["price_overrides"] = [
        {
            "provider": "openai",
            "model": model,
            "input_mtok": "1",
            **{key: draw(decimals) for key in draw(keys)},
        }
        for model, keys in (
            ("gpt-4o", st.lists(st.sampled_from(OVERRIDE_KEYS))),
            ("gpt-*", st.just(["output_mtok"])),
        )
    ]
    return document
