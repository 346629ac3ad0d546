"""Bodies of webhooks as exact values: JSON with decimals, forms, both bounded."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from .provider import Incoming, MalformedPayload

DEPTH_MAX = 64
NODES_MAX = 500_000
FORM_FIELDS_MAX = 1_000
FORM = "application/x-www-form-urlencoded"


def json_of(body: bytes) -> Any:
    """The value of a JSON text: integers stay integers, other numbers are `Decimal`.

    Raises `MalformedPayload` for what is no JSON, nested deeper than `DEPTH_MAX`, or of more than `NODES_MAX`
    values.
    """
    try:
        value = json.loads(body.decode(), parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise MalformedPayload(f"the body is no JSON that can be read: {_reason(error)}") from None
    _check(value)
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {DEPTH_MAX}"
    return str(error)[:200] or type(error).__name__


def _check(value: Any) -> None:
    """Walk level by level, so that depth costs no stack."""
    level, depth, nodes = [value], 0, 1
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below
        nodes += len(level)
        depth += 1
        if depth > DEPTH_MAX:
            raise MalformedPayload(f"the body is nested deeper than {DEPTH_MAX}")
        if nodes > NODES_MAX:
            raise MalformedPayload(f"the body holds more than {NODES_MAX} values")


def object_of(value: Any, what: str = "the body") -> dict[str, Any]:
    """`value`, which must be a JSON object; raises `MalformedPayload`."""
    if not isinstance(value, dict):
        raise MalformedPayload(f"{what} is no JSON object")
    return value


def form_pairs(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form in their order; raises `MalformedPayload`."""
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX)
    except ValueError as error:
        raise MalformedPayload(f"the body is no form that can be read: {_reason(error)}") from None


def form_of(body: bytes) -> dict[str, Any]:
    """The fields of a form by name; the last of several with one name."""
    return dict(form_pairs(body))


def object_in(incoming: Incoming) -> dict[str, Any]:
    """The JSON object of a body, or of the field `payload` where the body is a form."""
    if incoming.content_type != FORM:
        return object_of(json_of(incoming.body))
    payload = form_of(incoming.body).get("payload")
    if payload is None:
        raise MalformedPayload("the form has no field `payload`")
    return object_of(json_of(payload.encode()), "`payload`")


def text_at(value: Any, *names: str) -> str:
    """The text (or whole number, as text) under nested names, "" for none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def rendered(value: Any) -> bytes:
    """JSON of a sample."""
    return json.dumps(value, separators=(",", ":")).encode()
