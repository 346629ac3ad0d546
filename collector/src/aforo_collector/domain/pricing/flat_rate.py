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
    usage.
    """

    base_fee: Decimal | None = None

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
        return {} if self.base_fee is None else {"base_fee": plain(self.base_fee)}


def read(fields: Fields, metric: str) -> FlatRate:  # noqa: ARG001 - the table's signature
    """The terms of a FLAT_RATE price table of the catalog file."""
    return FlatRate(fields.optional_decimal("base_fee"))
