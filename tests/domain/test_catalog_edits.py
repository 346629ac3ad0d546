"""Edits of the catalog's file: each noun adds, changes and takes away its own and leaves the rest alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from aforo_collector.domain.catalog_edits import (
    NOUNS,
    AlreadyThere,
    Changing,
    InvalidRow,
    NotThere,
    Noun,
    joined,
    subscriptions_of,
)
from aforo_collector.domain.catalog_file import CatalogError, export, parse
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.catalogs import documents

BY_NAME = {noun.name: noun for noun in NOUNS}
NEW: dict[str, dict[str, Any]] = {
    "products": {"code": "p", "type": "MCP_SERVER", "rate_plan": "base"},
    "billable-units": {"name": "u", "aggregation": "COUNT"},
    "rate-plans": {"code": "r"},
    "customers": {"id": "c:%"},
    "teams": {"customer_id": "acme", "team_id": "t:1"},
    "apps": {"customer_id": "acme", "team_id": "ops", "app_id": "a"},
    "agents": {"customer_id": "acme", "team_id": "ops", "agent_id": "b"},
    "subscriptions": {"customer_id": "acme", "product_code": "bots"},
}


def document() -> dict[str, Any]:
    """A catalog in which every noun has a row."""
    return export(parse({
        "billable_units": [{"name": "pages"}],
        "rate_plans": [{"code": "base"}],
        "products": [
            {"code": "api", "type": "API", "rate_plan": "base"},
            {"code": "bots", "type": "AI_AGENT", "rate_plan": "base"},
        ],
        "customers": [
            {
                "id": "acme",
                "products": ["api"],
                "teams": [{"id": "ops", "agents": ["r"], "apps": ["w"]}, {"id": "lab"}],
            },
            {"id": "globex"},
        ],
    }))  # fmt: skip


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.name)
def test_what_was_added_can_be_seen_and_taken_away(noun: Noun) -> None:
    """Adding shows one row more, a second time is refused, and taking it away leaves the catalog as it was."""
    file = document()
    before, catalog = noun.rows(copy.deepcopy(file)), parse(file)
    row_id = noun.add(file, copy.deepcopy(NEW[noun.name]))
    rows = noun.rows(export(parse(file)))
    assert rows.keys() - before.keys() == {row_id}
    assert NEW[noun.name].items() <= rows[row_id].items()
    with pytest.raises(AlreadyThere):
        noun.add(file, copy.deepcopy(NEW[noun.name]))
    noun.remove(file, row_id)
    assert parse(file) == catalog


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.name)
def test_what_is_not_there_cannot_be_touched(noun: Noun) -> None:
    """Taking away or changing an id that is not there says so."""
    with pytest.raises(NotThere):
        noun.remove(document(), "nothing")
    if isinstance(noun, Changing):
        with pytest.raises(NotThere):
            noun.change(document(), "nothing", {})


@given(documents(), st.sampled_from(NOUNS), st.data())
def test_taking_one_away_leaves_the_others(stated: Any, noun: Noun, data: st.DataObject) -> None:
    """In any catalog, a row that is taken away is gone and every other row of its noun is as it was."""
    file = export(parse(stated))
    rows = copy.deepcopy(noun.rows(file))
    if not rows:
        return
    row_id = data.draw(st.sampled_from(sorted(rows)))
    noun.remove(file, row_id)
    del rows[row_id]
    assert noun.rows(file) == rows


@given(documents(), st.sampled_from([noun for noun in NOUNS if isinstance(noun, Changing)]), st.data())
def test_a_change_of_nothing_changes_nothing(stated: Any, noun: Changing, data: st.DataObject) -> None:
    """Any row may be changed by no field at all; the catalog says the same afterwards."""
    catalog = parse(stated)
    file = export(catalog)
    rows = noun.rows(file)
    if rows and noun.name not in ("apps", "agents"):
        noun.change(file, data.draw(st.sampled_from(sorted(rows))), {})
        assert parse(file) == catalog


def test_a_change_replaces_the_fields_that_are_given() -> None:
    """Fields are replaced, None takes one away, the key stays, members move between teams."""
    file = document()
    BY_NAME["products"].change(file, "bots", {"type": "MCP_SERVER"})  # type: ignore[attr-defined]
    BY_NAME["agents"].change(file, joined("acme", "r"), {"team_id": "lab"})  # type: ignore[attr-defined]
    BY_NAME["teams"].change(file, joined("acme", "ops"), {"apps": None})  # type: ignore[attr-defined]
    BY_NAME["customers"].change(file, "acme", {"products": None})  # type: ignore[attr-defined]
    catalog = parse(file)
    acme = catalog.customer("acme")
    assert acme is not None
    assert (catalog.team_of("acme", "r"), catalog.team_of("acme", "w"), acme.products) == ("lab", "", ())
    assert {product.code: product.type for product in catalog.products}["bots"] == "MCP_SERVER"
    with pytest.raises(InvalidRow):
        BY_NAME["products"].change(file, "bots", {"code": "robots"})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("products", {"code": 1}),
        ("teams", {"customer_id": "nobody", "team_id": "t"}),
        ("teams", {"customer_id": "acme", "team_id": "t", "more": 1}),
        ("agents", {"customer_id": "acme", "team_id": "nowhere", "agent_id": "b"}),
        ("agents", {"customer_id": "acme", "agent_id": "b"}),
        ("subscriptions", {"customer_id": "acme"}),
    ],
)
def test_a_row_that_fits_nowhere_is_refused(name: str, row: dict[str, Any]) -> None:
    """A row whose customer or team is not there, or with a field too many, is refused by its field."""
    with pytest.raises(InvalidRow):
        BY_NAME[name].add(document(), row)


def test_what_others_need_cannot_go_away_unnoticed() -> None:
    """A catalog in which something refers to what was taken away is no catalog."""
    file = document()
    BY_NAME["rate-plans"].remove(file, "base")
    with pytest.raises(CatalogError, match="no rate plan 'base'"):
        parse(file)


@given(st.text(), st.text(), st.text(), st.text())
def test_ids_of_what_belongs_to_a_customer_are_unique(a: str, b: str, c: str, d: str) -> None:
    """Two pairs of customer and name have one id only if they are the same."""
    assert (joined(a, b) == joined(c, d)) == ((a, b) == (c, d))


def test_subscriptions_are_known_by_id() -> None:
    """A subscription's customer and type are found by its id."""
    found = subscriptions_of(parse(document()))
    assert {key: tuple(value) for key, value in found.items()} == {"acme:api": ("acme", "API")}
