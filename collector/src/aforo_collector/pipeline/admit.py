"""Admit: the one validator of usage events that a program records itself."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.money import MoneyError, decimal_of
from aforo_collector.domain.span import Span

INTEGER_DIGITS_MAX = 14
FRACTION_DIGITS_MAX = 6


class Refused(ValueError):
    """A usage event that is not recorded; `code` is stable, the text says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def admit(span: Span, catalog: Catalog) -> None:
    """Check a hand-recorded usage event; raises `Refused`."""
    recorded = span.recorded
    assert recorded is not None
    if catalog.unit(recorded.metric) is None:
        raise Refused(
            "UNKNOWN_METRIC", f"no billable unit {recorded.metric!r} in the catalog; add it and send again"
        )
    try:
        quantity = decimal_of(recorded.quantity)
    except MoneyError as error:
        raise Refused("INVALID_QUANTITY", f"quantity: {error}") from error
    whole, _, fraction = format(quantity.normalize(), "f").partition(".")
    if quantity < 0 or len(whole) > INTEGER_DIGITS_MAX or len(fraction) > FRACTION_DIGITS_MAX:
        raise Refused(
            "INVALID_QUANTITY",
            f"quantity {recorded.quantity} is negative or has more than {INTEGER_DIGITS_MAX} digits before or"
            f" {FRACTION_DIGITS_MAX} after the point",
        )
    if recorded.metadata and not isinstance(_json(recorded.metadata), dict):
        raise Refused("INVALID_METADATA", "metadata is not a JSON object")


def stated_fields(span: Span) -> dict[str, str]:
    """What prices and filter conditions can look at: the scalars of the metadata, as text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, default=str).strip('"')
        for key, value in metadata_of(span).items()
        if isinstance(value, str | int | Decimal)
    }


def metadata_of(span: Span) -> dict[str, object]:
    """The metadata object of an admitted event."""
    assert span.recorded is not None
    found = _json(span.recorded.metadata) if span.recorded.metadata else {}
    return found if isinstance(found, dict) else {}


def _json(text: str) -> object:
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return None


def digest(span: Span) -> bytes:
    """A hash of what an event says: same key and same digest is a duplicate, another digest a conflict."""
    recorded = span.recorded
    assert recorded is not None
    said = [
        span.identity.customer_id,
        recorded.metric,
        format(decimal_of(recorded.quantity).normalize(), "f"),
        metadata_of(span),
    ]
    return hashlib.blake2b(json.dumps(said, sort_keys=True, default=str).encode(), digest_size=16).digest()
