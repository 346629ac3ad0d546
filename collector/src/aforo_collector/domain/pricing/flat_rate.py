"""FLAT_RATE: a fee per period, whatever is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aforo_collector.domain.fields import Fields
from aforo_collector.domain.money import ZERO, plain
from aforo_collector.domain.pricing.terms import Charge, Price, Usage, total_of

__all__ = ["FlatRate", "read"]

_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class FlatRate:
    """Terms of FLAT_RATE; without a fee of its own, the plan's base fee, which is its own line, pays the
    usage. The fee pays for any usage; with a `limit`, quota checks deny what goes beyond.
    """

    base_fee: Decimal | None = None
    limit: Decimal | None = None

    @property
    def dimension(self) -> str | None:
        """A flat fee has one line."""
        return None

    def weight(self, dimensions: Mapping[str, str]) -> Decimal:  # noqa: ARG002 - the protocol's signature
        """All usage counts; it only does not change the amount."""
        return _ONE

    def covers(self, dimensions: Mapping[str, str]) -> bool:  # noqa: ARG002 - the protocol's signature
        """All usage is covered."""
        return True

    def charges(self, price: Price, usage: Sequence[Usage]) -> list[Charge]:
        """One charge of quantity 1, even without usage; its event count says how much the fee covered."""
        fee = self.base_fee or ZERO
        _, event_count = total_of(usage)
        if not fee and not event_count:
            return []
        return [Charge(price.metric, None, _ONE, fee, fee, event_count, price)]

    def estimate(self, dimensions: Mapping[str, str], quantity: Decimal) -> Decimal | None:  # noqa: ARG002
        """None: no single event earns the fee."""
        return None

    def parameters(self) -> dict[str, object]:
        """The keys of the catalog file."""
        keys: dict[str, object] = {}
        if self.base_fee is not None:
            keys["base_fee"] = plain(self.base_fee)
        if self.limit is not None:
            keys |= {"included": plain(self.limit), "overage": "BLOCK"}
        return keys


def read(fields: Fields, metric: str) -> FlatRate:  # noqa: ARG001 - the table's signature
    """The terms of a FLAT_RATE price table of the catalog file."""
    terms = FlatRate(fields.optional_decimal("base_fee"), fields.optional_decimal("included"))
    if fields.optional_text("overage") != (None if terms.limit is None else "BLOCK"):
        fields.report(
            "overage", "is BLOCK when included is given, else absent: a flat fee pays for any usage"
        )
    return terms
