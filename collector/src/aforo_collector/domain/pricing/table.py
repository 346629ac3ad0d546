"""The dispatch table: which module reads which pricing model. A new model is a module, a line here, and
vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aforo_collector.domain.pricing import cost_plus, flat_rate, per_unit
from aforo_collector.domain.pricing.terms import TermsReader

__all__ = ["MODEL_NAMES", "READERS"]

READERS: Final[Mapping[str, TermsReader]] = MappingProxyType(
    {
        "PER_UNIT": per_unit.read,
        "FLAT_RATE": flat_rate.read,
        "COST_PLUS": cost_plus.read,
    }
)
"""Readers of a price's terms by model name; the terms they return carry the arithmetic."""

MODEL_NAMES: Final = (
    "PER_UNIT",
    "FLAT_RATE",
    "PERCENTAGE",
    "INCLUDED_QUOTA",
    "GRADUATED",
    "VOLUME_TIERED",
    "STAIRSTEP",
    "PACKAGE",
    "OUTCOME_BASED",
    "COST_PLUS",
)
"""All models of the catalog file (surfaces section 7), those of later versions included."""
