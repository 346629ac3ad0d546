"""What is stored of an event as text."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from aforo_collector.domain.submission import RawEvent
from aforo_collector.pipeline.admit import Refused

METADATA_BYTES_MAX: Final = 32_768
DEPTH_MAX: Final = 64
"""How deep objects and lists may stand in one another: any reader of JSON gets that far, ours and the users'."""
KEPT_BYTES_MAX: Final = 65_536
FILTERED: Final = "FILTERED"
"""The code of what its unit's conditions keep off the bill."""
_FLAT: Final = frozenset((str, int, bool, Decimal, type(None)))
_encode: Final = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def fields_text(fields: Mapping[str, object]) -> str:
    """Some fields as compact JSON with sorted keys, "" for none; raises `Refused` for too much."""
    if not fields:
        return ""
    if not _FLAT.issuperset(map(type, fields.values())) and _deeper(fields, DEPTH_MAX):
        detail = f"metadata is nested deeper than {DEPTH_MAX} objects and lists in one another"
        raise Refused("METADATA_TOO_DEEP", detail, "metadata")
    try:
        text = _encode(fields)
    except (TypeError, ValueError) as error:
        raise Refused("INVALID_METADATA", f"metadata cannot be kept: {error}", "metadata") from error
    if len(text) > METADATA_BYTES_MAX:
        detail = f"metadata has {len(text)} bytes as JSON; {METADATA_BYTES_MAX} are allowed"
        raise Refused("METADATA_TOO_LARGE", detail, "metadata")
    return text.decode()


def _deeper(value: object, levels: int) -> bool:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return not levels or any(_deeper(inner, levels - 1) for inner in value)


def raw_text(raw: RawEvent) -> str:
    """What is kept of an event that is not recorded, as JSON; "" for one too large or that no JSON can say."""
    try:
        text = _encode(raw)
    except (TypeError, ValueError, RecursionError):
        return ""
    return text.decode() if len(text) <= KEPT_BYTES_MAX else ""


def filtered(metric: str) -> str:
    """Why an event was set aside as `FILTERED`."""
    return f"the conditions of {metric!r} do not hold; the event is kept and not billed"
