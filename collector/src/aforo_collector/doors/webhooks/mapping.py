"""From a provider's event to a usage event as the wire names it, by the rules of a source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final

from aforo_collector.domain.submission import RawEvent, Refusal

from .paths import Budget, values_at
from .rules import CUSTOMER, METRIC, ONE, QUANTITY, TIME, FieldRules, Rule

EXPONENT_MAX: Final = 30
_MILLIS_FROM: Final = Decimal(10) ** 11
_MILLIS_TO: Final = Decimal(10) ** 14
_SCALE: Final = Decimal("0.000001")
_EXACT: Final = Context(prec=80, traps=[])
_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANO: Final = Decimal(10) ** 9


class _Unmapped(Exception):
    """A field that nothing usable was found for."""


def usage_event(
    rules: FieldRules, customers: Mapping[str, str], payload: Mapping[str, Any], budget: Budget
) -> RawEvent | Refusal:
    """The usage event that a payload becomes, without a key; or why it becomes none.

    `customers` gives the customer of an external id; an id that it does not know is the customer's. Raises
    `MalformedPayload` when the budget is spent.
    """
    event: dict[str, object] = {}
    name = ""
    try:
        for name, rule in rules.fields.items():
            value = _value(rule, payload, budget)
            if name == QUANTITY:
                event[name] = _quantity(value, rule)
            elif name == TIME:
                if value is not None:
                    event[name] = _moment(value)
            elif value is not None:
                event[name] = _text(value)
            elif name in (CUSTOMER, METRIC):
                raise _Unmapped(_not_found(rule))
        metadata: dict[str, object] = {}
        for label, rule in rules.metadata.items():
            name = f"metadata.{label}"
            if (value := _value(rule, payload, budget)) is not None:
                metadata[label] = _clean(value)
    except _Unmapped as why:
        return Refusal("UNMAPPED", f"{name}: {why}; mend the mapping and replay the delivery", name)
    event[CUSTOMER] = customers.get(str(event[CUSTOMER]), event[CUSTOMER])
    event["metadata"] = metadata
    return event


def _value(rule: Rule, payload: Mapping[str, Any], budget: Budget) -> Any:
    for path in rule.paths:
        found = values_at(path, payload, budget)
        if len(found) > 1:
            raise _Unmapped(f"{path} finds {len(found)} values where one is expected")
        if found and found[0] != "":
            return found[0]
    return rule.constant


def _not_found(rule: Rule) -> str:
    return f"nothing at {' or '.join(rule.paths)}" if rule.paths else "no path and no constant"


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return _clean_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _Unmapped(f"{str(value)[:80]!r} is neither text nor a whole number")


def _number(value: Any) -> Decimal | None:
    """An exact number of a sane size, also where it is written as text; None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = Decimal(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    sane = number.is_finite() and -EXPONENT_MAX <= number.adjusted() <= EXPONENT_MAX
    exponent = number.as_tuple().exponent
    return number if sane and isinstance(exponent, int) and exponent >= -EXPONENT_MAX else None


def _quantity(value: Any, rule: Rule) -> Decimal:
    if value is None:
        raise _Unmapped(_not_found(rule))
    number = _number(value)
    if number is None:
        raise _Unmapped(f"{str(value)[:80]!r} is no quantity")
    if rule.multiplier == ONE:
        return number
    # A product may have more digits than a quantity: it is rounded once, here, as the column would be.
    product = _EXACT.multiply(number, rule.multiplier)
    exponent = product.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -6:
        return product
    return _EXACT.quantize(product, _SCALE)


def _moment(value: Any) -> str:
    """RFC 3339 of seconds or milliseconds since 1970, or of a date as mail writes it; other text as it is."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is None:
        return _date(value)
    number = _number(value)
    if number is None or number < 0 or number >= _MILLIS_TO:
        raise _Unmapped(f"{str(value)[:80]!r} is no time")
    if number >= _MILLIS_FROM:
        number = _EXACT.scaleb(number, -3)
    nanos = int(_EXACT.multiply(number, _NANO))
    whole = _EPOCH + timedelta(seconds=nanos // 10**9)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanos % 10**9:09d}Z"


def _date(text: str) -> str:
    if not text[:3].isalpha():
        return _text(text)
    try:
        return parsedate_to_datetime(text).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        raise _Unmapped(f"{text[:80]!r} is no time") from None


def _clean(value: Any) -> Any:
    """A value without text that cannot be stored: half a character, as JSON can spell it, becomes `?`."""
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, dict):
        return {_clean_text(name): _clean(item) for name, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _clean_text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
