"""The published vectors of each pricing model, through the catalog file and the whole rating."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.domain.catalog_file import CatalogError
from aforo_collector.domain.invoice import build
from aforo_collector.domain.money import decimal_of, round_line
from aforo_collector.domain.pricing.table import MODEL_NAMES, READERS
from aforo_collector.domain.pricing.terms import Usage
from aforo_collector.domain.rating import rate

from tests.domain.catalogs import plan_of, used

VECTORS = json.loads((Path(__file__).parent / "pricing_vectors.json").read_text())
# Outcome weights and dimension prices are parameters of PER_UNIT; COST_PLUS counts a provider's cost.
MODELS = {"PER_UNIT by dimension": "PER_UNIT", "OUTCOME_BASED": "PER_UNIT"}


def usage_of(vector: dict[str, Any]) -> list[Usage]:
    """The vector's usage as rating takes it."""
    if "usage" not in vector:
        return [used("calls", vector["quantity"])]
    dimension = vector["params"].get("dimension", "executionStatus")
    return [
        used("calls", quantity, **({dimension: value} if value else {}))
        for value, quantity in vector["usage"]
    ]


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["id"])
def test_a_model_charges_what_its_vector_says(vector: dict[str, Any]) -> None:
    """The charges before rounding must sum to the expected amount, and the invoice must round it."""
    plan = plan_of(
        {"metric": "calls", "model": MODELS.get(vector["model"], vector["model"]), **vector["params"]}
    )
    usage = usage_of(vector)
    expected = decimal_of(vector["expected"])
    rated = rate(plan, usage)
    assert sum((charge.amount for charge in rated.charges), Decimal(0)) == expected
    assert not rated.unrated
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    assert build("acme", "USD", start, end, [(plan, usage)]).total == round_line(expected, "USD")


@pytest.mark.parametrize("vector", VECTORS["later"], ids=lambda vector: vector["id"])
def test_a_model_of_a_later_version_is_refused(vector: dict[str, Any]) -> None:
    """A price that this version cannot rate must be an error of the catalog, never a wrong amount."""
    with pytest.raises(CatalogError, match=f"model: {vector['model']} is not available in this version"):
        plan_of({"metric": "calls", "model": vector["model"], **vector["params"]})


def test_every_model_of_the_table_is_a_model_of_the_catalog_file() -> None:
    """The dispatch table must not know a name that the file cannot say."""
    assert set(READERS) <= set(MODEL_NAMES)


@pytest.mark.parametrize("vector", VECTORS["rounding"], ids=lambda vector: vector["amount"])
def test_amounts_round_half_even_at_the_invoice_line(vector: dict[str, str]) -> None:
    """The rounding vectors must hold."""
    assert str(round_line(decimal_of(vector["amount"]), "USD")) == vector["expected"]
