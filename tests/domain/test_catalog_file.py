"""The catalog file: read, checked, written back."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from aforo_collector.domain.catalog import EMPTY_CATALOG
from aforo_collector.domain.catalog_file import CatalogError, export, parse
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.catalogs import SURFACES, documents

DOCUMENT = tomllib.loads(SURFACES)


def problems_of(document: object) -> tuple[str, ...]:
    """The problems with which a file is refused."""
    with pytest.raises(CatalogError) as caught:
        parse(document)
    return caught.value.problems


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The file of surfaces section 7 with one change."""
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return document


def test_the_file_of_the_surfaces_is_read_and_comes_back_as_it_was() -> None:
    """The documented example must parse, and its export must be the same text, decimals in canonical form."""
    catalog = parse(DOCUMENT)
    exported = export(catalog)
    canonical = changed(lambda document: document["guards"][0].update(session_revenue="1"))
    canonical["guards"][0]["thresholds"] = {"L1": "0.3", "L2": "0.2", "L3": "0.1"}
    canonical["rate_plans"][0]["prices"][0]["prices"]["ai_analysis"] = "0.1"
    canonical["rate_plans"][0]["prices"][1]["markup"] = "0.2"
    canonical["price_overrides"][0].update(input_mtok="2", output_mtok="8")
    assert exported == canonical
    assert json.loads(json.dumps(exported)) == exported
    assert parse(exported) == catalog


@given(documents())
def test_export_reads_back_as_the_same_catalog(document: dict[str, object]) -> None:
    """For any valid file, parse(export(parse(file))) must equal parse(file)."""
    catalog = parse(document)
    exported = export(catalog)
    assert parse(exported) == catalog
    assert export(parse(exported)) == exported


def test_an_empty_file_is_the_catalog_before_any_file() -> None:
    """Nothing said must mean US dollars, the built-in units, and nothing sold."""
    assert parse({}) == EMPTY_CATALOG
    assert EMPTY_CATALOG.unit("api_calls") is not None


def test_lookups_follow_the_references_of_the_file() -> None:
    """Customer and product type must lead to the plan, its price, the team and the recorded metrics."""
    catalog = parse(DOCUMENT)
    plan = catalog.plan("pro")
    assert plan is not None
    assert catalog.basis("acme", "AGENTIC_API") is plan
    assert catalog.basis("acme", None) is catalog.basis("acme", "UNHEARD_OF") is plan
    assert catalog.basis("acme", "MCP_SERVER") is None
    assert catalog.basis("nobody", "AGENTIC_API") is None
    assert catalog.plans_of("acme") == (("AGENTIC_API", plan),)
    assert plan.price_of("agentic_api.provider_cost") is plan.prices[1]
    assert plan.price_of("agentic_api.steps") is None
    assert catalog.records("agentic_api.steps")
    assert not catalog.records("agentic_api.sessions")
    assert parse({"recorded_metrics": ["*"]}).records("agentic_api.sessions")
    assert catalog.team_of("acme", "researcher-1") == "science"
    assert catalog.team_of("acme", "somebody") == ""
    translations = catalog.unit("translations")
    assert translations is not None
    assert translations.admits({"status_code": "200"})
    assert catalog.unit("unheard_of") is None
    assert catalog.guards[0].thresholds["L3"] == Decimal("0.1")


def test_all_problems_are_reported_at_once_with_their_paths() -> None:
    """One pass must name every problem, say that nothing was changed, and what to do."""
    document = {
        "currency": "dollars",
        "colour": "red",
        "unknown_metrics": "keep",
        "backfill_days": "90.5",
        "billable_units": [{"name": "api_calls"}, {"aggregation": "SOME"}],
        "rate_plans": [
            {"code": "a", "prices": [{"metric": "api_calls", "model": "PER_UNIT", "unit_price": 0.1}]},
            {
                "code": "a",
                "base_fee": "-1",
                "prices": [
                    {"metric": "nope", "model": "PER_UNIT", "unit_price": "1"},
                    {"metric": "api_calls", "model": "PER_UNIT", "unit_price": "cheap", "tiers": []},
                    {"metric": "api.steps", "model": "GRADUATED", "tiers": []},
                ],
            },
        ],
        "products": "none",
        "customers": [{"id": "acme", "products": ["x"]}, 7],
    }
    problems = problems_of(document)
    for start in (
        "currency: ",
        "colour: unknown key",
        "unknown_metrics: 'keep' is not one of reject, quarantine",
        "backfill_days: 90.5 is no whole number from 90 to 3650",
        "billable_units[0].name: 'api_calls' is built in",
        "billable_units[1].name: missing",
        "billable_units[1].aggregation: 'SOME' is not one of COUNT",
        "rate_plans[0].prices[0].unit_price: not a decimal: float is not exact",
        "rate_plans[1].base_fee: below 0",
        "rate_plans[1].prices[0].metric: 'nope' is neither built in nor one of billable_units",
        "rate_plans[1].prices[1].unit_price: not a decimal",
        "rate_plans[1].prices[1].tiers: unknown key",
        "rate_plans[1].prices[2].model: GRADUATED is not available in this version",
        "rate_plans[1].code: the same as rate_plans[0]",
        "products: not a list",
        "customers[1]: not a table",
        "customers[0].products[0]: no product 'x'",
    ):
        assert any(problem.startswith(start) for problem in problems), (start, problems)
    with pytest.raises(CatalogError, match="nothing was changed, correct the file and apply it again"):
        parse(document)


def price(**keys: object) -> Callable[[dict[str, Any]], object]:
    """A change that replaces the first price of the file."""
    return lambda document: document["rate_plans"][0]["prices"].__setitem__(
        0, {"metric": "agentic_api.tool_calls", "model": "PER_UNIT", **keys}
    )


UNIT = {"unit_price": "1", "dimension": "toolName"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (price(), "prices[0].unit_price: missing"),
        (price(unit_price="1", prices={"a": "1"}), "prices[0].dimension: missing"),
        (price(**UNIT, included="5"), "prices[0].included: given together with dimension"),
        (
            price(**UNIT, prices={"a": "1"}, multipliers={"a": "2"}),
            "prices[0].multipliers: given together with prices",
        ),
        (
            price(dimension="toolName", prices={"a": "1"}, multipliers={"b": "2"}),
            "prices[0].multipliers: have nothing",
        ),
        (price(unit_price="1", dimension="toolname"), "prices[0].dimension: 'toolname' is no dimension here"),
        (price(**UNIT, prices={"a": "x"}), "prices[0].prices.a: not a decimal"),
        (price(unit_price="1e40"), "prices[0].unit_price: more than 15 digits before"),
        (price(unit_price="0." + "1" * 16), "prices[0].unit_price: more than 15 digits"),
        (price(unit_price="NaN"), "prices[0].unit_price: not a decimal: 'NaN'"),
        (price(unit_price=True), "prices[0].unit_price: not a decimal: bool"),
        (
            price(metric="agentic_api.provider_cost", unit_price="1"),
            "prices[1].metric: 'agentic_api.provider_cost' has",
        ),
        (price(model="FLAT_RATE"), "prices[0].base_fee: missing; give it here or on the plan"),
        (price(model="COST_PLUS"), "prices[0].markup: missing"),
        (price(model="FREE"), "prices[0].model: 'FREE' is not one of PER_UNIT"),
        (lambda d: d.update(currency="EUR"), "rate_plans[0].prices[1].model: COST_PLUS passes on US dollars"),
        (
            lambda d: d["billable_units"][0].update(name="base_fee"),
            "billable_units[0].name: 'base_fee' names a line",
        ),
        (
            lambda d: d["billable_units"][0]["filter"][0].pop("value"),
            "billable_units[0].filter[0].value: missing",
        ),
        (lambda d: d["products"][0].update(type="WEB"), "products[0].type: 'WEB' is not one of API"),
        (lambda d: d["products"][0].update(rate_plan="max"), "products[0].rate_plan: no rate plan 'max'"),
        (lambda d: d["customers"].append({"id": "acme"}), "customers[1].id: the same as customers[0]"),
        (lambda d: d["customers"][0].update(id=" acme"), "customers[0].id: empty, or with blanks"),
        (lambda d: d["customers"][0].update(id="a" * 257), "customers[0].id: longer than 256"),
        (
            lambda d: d["customers"][0]["products"].append("research"),
            "customers[0].products: 'research' stands there",
        ),
        (
            lambda d: d["customers"][0]["teams"].append({"id": "art", "apps": ["researcher-1"]}),
            "customers[0].teams[1]: ambiguous: 'researcher-1' is in team 'science' already",
        ),
        (lambda d: d["guards"][0].update(customer="nobody"), "guards[0].customer: no customer 'nobody'"),
        (
            lambda d: d["guards"][0].update(plan="pro"),
            "guards[0]: names more than one of customer, plan and product",
        ),
        (
            lambda d: d["guards"][0].update(scope="period"),
            "guards[0].session_revenue: belongs to a guard of scope",
        ),
        (
            lambda d: d["guards"][0].update(thresholds={"L1": "0.1", "L3": "0.2"}),
            "guards[0].thresholds: not falling",
        ),
        (lambda d: d["guards"][0].update(thresholds={"L4": "0.1"}), "guards[0].thresholds: unknown level L4"),
        (
            lambda d: d["price_overrides"][0].update({"from": "1.2.2026"}),
            "price_overrides[0].from: '1.2.2026' is not",
        ),
        (
            lambda d: d["price_overrides"][0].update(model="g*t*"),
            "price_overrides[0].model: has * before its end",
        ),
        (
            lambda d: d["price_overrides"].append({**d["price_overrides"][0], "provider": "OpenAI"}),
            "price_overrides[1].from: the same as price_overrides[0]",
        ),
        (
            lambda d: d["price_overrides"].append({"provider": "a", "model": "b", "reasoning_mtok": "1"}),
            "price_overrides[1]: names neither input_mtok nor output_mtok",
        ),
        (lambda d: d["recorded_metrics"].append("stepz"), "recorded_metrics[1]: 'stepz' is neither built in"),
        (lambda d: d.update(rate_plans={"code": "pro"}), "rate_plans: not a list"),
    ],
)
def test_what_cannot_be_billed_is_refused(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    """A file that would bill wrongly, or not at all, must be refused with the path and the reason."""
    problems = problems_of(changed(change))
    assert any(problem in found for found in problems), problems


def test_two_products_of_one_type_are_ambiguous() -> None:
    """A customer whose usage of a type could be billed by two plans must be refused."""

    def change(document: dict[str, Any]) -> None:
        document["products"].append({"code": "more", "type": "AGENTIC_API", "rate_plan": "pro"})
        document["customers"][0]["products"].append("more")

    (problem,) = problems_of(changed(change))
    assert problem == (
        "customers[0].products[1]: ambiguous: "
        "'more' and 'research' are both AGENTIC_API; have one of each type"
    )


def priced(aggregation: str, event_field: str | None = None, **keys: object) -> dict[str, Any]:
    """The file of surfaces section 7 with a price of a unit that aggregates so."""
    unit = {"aggregation": aggregation} | ({} if event_field is None else {"event_field": event_field})
    document = changed(lambda d: d["billable_units"][0].update(unit))
    price = {"metric": "translations", "model": "PER_UNIT", "unit_price": "1", **keys}
    document["rate_plans"][0]["prices"].append(price)
    return document


def test_a_unit_says_how_it_aggregates_and_its_price_knows() -> None:
    """Aliases are read, the one name is written, and the price aggregates as its unit does."""
    document = priced("UNIQUE", "user_id")
    catalog = parse(document)
    assert export(catalog)["billable_units"] == [
        {**document["billable_units"][0], "aggregation": "COUNT_DISTINCT", "event_field": "user_id"}
    ]
    assert catalog.rate_plans[0].prices[2].aggregation == "COUNT_DISTINCT"
    assert catalog.sampled_metrics() == ("translations",)
    assert parse(priced("P95")).rate_plans[0].prices[2].aggregation == "PERCENTILE_95"
    assert parse(priced("SUM")).sampled_metrics() == ()


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (priced("COUNT_DISTINCT"), "metric: 'translations' does not say what is to be distinct"),
        (priced("MEDIAN"), "aggregation: 'MEDIAN' is not one of COUNT, SUM"),
        (priced("MAX", outcome_weights={"ERROR": "0.5"}), "outcome_weights: MAX takes an event whole"),
        (priced("AVG", included="5", overage="BLOCK"), "overage: BLOCK needs what is used up"),
        (priced("SUM", included="5", overage="STOP"), "overage: 'STOP' is not one of CHARGE, BLOCK, IGNORE"),
        (priced("SUM", overage="IGNORE"), "included: missing; IGNORE begins after"),
        (priced("SUM", overage="BLOCK"), "included: missing; BLOCK begins after"),
        *(
            (
                changed(price(model="FLAT_RATE", base_fee="9", **keys)),
                "overage: is BLOCK when included is given, else absent",
            )
            for keys in ({"included": "5"}, {"overage": "BLOCK"}, {"included": "5", "overage": "CHARGE"})
        ),
    ],
)
def test_what_an_aggregation_cannot_be_asked_for_is_refused(document: dict[str, Any], problem: str) -> None:
    """A price must make sense for the number that its unit comes to."""
    assert any(problem in found for found in problems_of(document)), problems_of(document)


@pytest.mark.parametrize("model", ["COUNT", "MAX", "AVG"])
def test_a_cost_is_a_sum(model: str) -> None:
    """Only a sum of costs can be passed on."""
    document = priced(model, model="COST_PLUS", markup="0")
    del document["rate_plans"][0]["prices"][2]["unit_price"]
    assert problems_of(document) == (
        f"rate_plans[0].prices[2].metric: {model} of events is no cost; COST_PLUS needs aggregation SUM",
    )


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        ({"unit_price": "1", "included": "5"}, None),
        ({"unit_price": "1", "included": "5", "overage": "IGNORE"}, None),
        ({"unit_price": "1", "included": "5", "overage": "BLOCK"}, 5),
        ({"model": "FLAT_RATE", "base_fee": "9", "included": "5", "overage": "BLOCK"}, 5),
        ({"model": "FLAT_RATE", "base_fee": "9"}, None),
    ],
)
def test_overage_reads_back_and_only_block_is_a_limit(keys: dict[str, object], limit: int | None) -> None:
    """What becomes of usage beyond what is included must be exported as written."""
    document = changed(price(**keys))
    catalog = parse(document)
    assert catalog.rate_plans[0].prices[0].terms.limit == limit
    exported: Any = export(catalog)
    assert exported["rate_plans"][0]["prices"][0].get("overage") == keys.get("overage")
    assert parse(exported) == catalog


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*DOCUMENT, "nonsense"]), json_values) | json_values)
def test_any_garbage_is_a_catalog_error_or_a_catalog(document: object) -> None:
    """Whatever a file contains, reading it must end in a catalog or in CatalogError, in nothing else."""
    try:
        catalog = parse(document)
    except CatalogError:
        return
    assert parse(export(catalog)) == catalog


def test_a_long_list_of_problems_is_cut_in_the_message_only() -> None:
    """A file with hundreds of problems must give a readable message and still carry them all."""
    document = {"rate_plans": [{"code": f"p{n}", "base_fee": "x"} for n in range(200)]}
    with pytest.raises(CatalogError, match="and 150 more") as caught:
        parse(document)
    assert len(caught.value.problems) == 200
