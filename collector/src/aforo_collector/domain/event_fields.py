"""The fields of a usage event: in its metadata first, then at the top level, under either spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from aforo_collector.domain.money import CONTEXT, MoneyError, decimal_of, plain
from aforo_collector.domain.submission import UsageEvent

__all__ = ["Scalar", "Sources", "find", "number_of", "other_spelling", "sources_of", "text_of", "token_of"]

Scalar = str | int | Decimal
Sources = tuple[Mapping[str, object], ...]
"""Where fields are looked for, first to last: the metadata, then what stands at the top level."""

_BOUND: Final = Decimal(10) ** 15
_UNIT: Final = Decimal(1).scaleb(-20)
_TOKEN_LENGTH_MAX: Final = 128
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_INTEGER_BITS_MAX: Final = 256


def sources_of(event: UsageEvent) -> Sources:
    """Where the fields of an event are looked for; those at its top level go by their names on the wire."""
    said = {
        "customerId": event.customer_id,
        "metricName": event.metric,
        "productType": event.product_type,
        "sessionId": event.session_id,
        "agentId": event.agent_id,
        "traceId": event.trace_id,
    }
    top: dict[str, object] = {name: value for name, value in said.items() if value}
    top["quantity"] = event.quantity
    if event.duration_ns:
        top["executionDurationMs"] = Decimal(event.duration_ns).scaleb(-6)
    return event.metadata, top | dict(event.details)


def find(name: str, sources: Sources) -> Scalar | None:
    """The scalar that the first source has under a name or its other spelling; None when none has one.

    snake_case and camelCase are spellings of one name; null, objects and lists are no scalars.
    """
    other = other_spelling(name)
    for source in sources:
        for key in (name, other):
            value = source.get(key)
            if isinstance(value, Scalar):
                return value
    return None


def text_of(value: Scalar) -> str:
    """A scalar as text: "true" and "false", numbers in canonical form, "" for an integer beyond all use."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _INTEGER_BITS_MAX else ""
    try:
        return plain(decimal_of(value))
    except MoneyError:
        return str(value)


def number_of(value: Scalar | None) -> Decimal | None:
    """A scalar as a quantity: a number from 0 to below 10^15, rounded to 20 digits after the point.

    None for what is no such number. The bounds keep the sum of any billion of them exact.
    """
    if value is None or isinstance(value, bool):
        return None
    try:
        number = decimal_of(value)
    except MoneyError:
        return None
    if not 0 <= number < _BOUND:
        return None
    return CONTEXT.quantize(number, _UNIT) if int(number.as_tuple().exponent) < -20 else number


def token_of(value: Scalar | None) -> str:
    """A scalar as text to tell apart from others, "" for none; what is long or unprintable by its digest."""
    text = "" if value is None else text_of(value)
    if len(text) <= _TOKEN_LENGTH_MAX and text.isprintable():
        return text
    return f"#{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


@lru_cache(maxsize=1024)
def other_spelling(name: str) -> str:
    """`statusCode` for status_code, and the other way round."""
    if "_" in name:
        first, *rest = name.split("_")
        return first + "".join(word[:1].upper() + word[1:] for word in rest)
    return _HUMP.sub("_", name).lower()
