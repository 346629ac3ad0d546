"""`record_usage`: one billable fact stated by the program itself, durable like a span."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from aforo_sdk import conventions, runtime, wire
from aforo_sdk.errors import UsageError, shown
from aforo_sdk.identity import Identity

METADATA_SIZE_BYTES_MAX: Final = 65_536
QUANTITY_DIGITS_MAX: Final = 40


def record_usage(
    metric_name: str,
    quantity: int | Decimal | str | float,
    customer_id: str | None = None,
    metadata: Mapping[str, object] | None = None,
    idempotency_key: str | None = None,
) -> None:
    """Record that `quantity` (≥ 0) of the billable unit `metric_name` was used, now.

    `customer_id` None bills whom the context names. `metadata` must be a JSON object of at most 64 KiB. With
    an `idempotency_key`, saying the same twice bills it once. A float counts as the decimal that Python
    prints for it.

    Raises UsageError when the arguments are no usage; nothing is recorded then. Never raises for another
    reason.
    """
    parts = [
        wire.text(conventions.METRIC_NAME, _name("metric_name", metric_name)),
        wire.text_once(conventions.QUANTITY, decimal_text("quantity", quantity)),
    ]
    if metadata is not None:
        parts.append(wire.text_once(conventions.METADATA, _json_object(metadata)))
    if idempotency_key is not None:
        parts.append(wire.text_once(conventions.IDEMPOTENCY_KEY, _name("idempotency_key", idempotency_key)))
    payer = Identity(customer_id=customer_id).over(runtime.current_identity())
    runtime.emit_message(conventions.RECORD_USAGE, b"".join(parts), payer)


def decimal_text(name: str, value: object) -> str:
    """A number ≥ 0 as plain decimal text, without exponent. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str | float):
        raise _wrong(name, value, "not a number: give an int, a Decimal, or decimal text")
    try:
        number = Decimal(float.__repr__(value) if isinstance(value, float) else value)
    except (InvalidOperation, ValueError):
        raise _wrong(name, value, "not a decimal number") from None
    if not number.is_finite():
        raise _wrong(name, value, "not a finite number")
    if number < 0:
        raise _wrong(
            name, value, "below 0: usage is corrected by a correction event, not by a negative quantity"
        )
    if number.adjusted() > QUANTITY_DIGITS_MAX or _exponent(number) < -QUANTITY_DIGITS_MAX:
        raise _wrong(
            name, value, f"out of range: at most {QUANTITY_DIGITS_MAX} digits on either side of the point"
        )
    return f"{number.copy_abs():f}"


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, value, "not a text with something in it")
    return value


def _json_object(metadata: object) -> str:
    if not isinstance(metadata, Mapping):
        raise _wrong("metadata", metadata, "not a JSON object: give a dict")
    try:
        text = json.dumps(dict(metadata), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"metadata cannot be written as JSON ({error}). Nothing was recorded.") from None
    if len(text) > METADATA_SIZE_BYTES_MAX:
        raise UsageError(
            f"metadata takes {len(text)} bytes as JSON, more than {METADATA_SIZE_BYTES_MAX}. Nothing was "
            "recorded; keep the big part elsewhere."
        )
    return text


def _wrong(name: str, value: object, why: str) -> UsageError:
    return UsageError(f"{name} {shown(value)} is {why}. Nothing was recorded.")
