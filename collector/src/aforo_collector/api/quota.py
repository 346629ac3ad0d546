"""Quota checks, as gateways make them before a call: answered 200, whatever happens (aforo-platform section 1.10)."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import msgspec
from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request

from aforo_collector.domain.money import MoneyError, decimal_of, plain
from aforo_collector.service.quotas import allowed

from .answers import Answer
from .bodies import read_body
from .desk import AtDesk, OfCaller

logger = logging.getLogger(__name__)
router = APIRouter(tags=["quotas"])

BODY_BYTES_MAX = 65_536
_NAME_LENGTH_MAX = 255
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object",
    "required": ["customerId"],
    "properties": {
        "customerId": {"type": "string"},
        "metricName": {"type": "string"},
        "estimatedQuantity": {"type": "number", "minimum": 0},
    },
}}}}}  # fmt: skip


class _Unclear(ValueError):
    """A request that does not say what to check."""


@router.post(
    "/api/v1/quota/check", response_class=Answer, openapi_extra=_BODY, operation_id="check_quota_api"
)
@router.post("/v1/quota/check", response_class=Answer, openapi_extra=_BODY, operation_id="check_quota")
async def check(request: Request, desk: AtDesk, caller: OfCaller) -> Answer:
    """Whether a customer may use more of a metric in this month: ALLOW, WARN or DENY.

    Without `metricName` the gravest answer of all the customer's quotas. A check that cannot be made allows,
    and says so: metering trouble never stops a call. The customer of a credential is the one that is checked.
    """
    body = await read_body(request, desk.bodies, BODY_BYTES_MAX)
    try:
        asked = _asked(body, caller.credential.customer_id)
        found = await to_thread.run_sync(desk.reading.quota, caller.tenant.tenant_no, *asked)
    except _Unclear as unclear:
        found = allowed(f"not checked: {unclear}")
    except Exception:
        logger.exception("a quota was not checked; the call was allowed")
        found = allowed("not checked: the collector failed, the reason is in its log")
    return Answer(
        {name: _number(value) if isinstance(value, Decimal) else value for name, value in found.items()}
    )


def _asked(body: bytes, own: str) -> tuple[str, str | None, Decimal]:
    """(customer, metric or None, estimated quantity) of a request; raises `_Unclear`."""
    try:
        said = json.loads(body, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise _Unclear(f"the body is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise _Unclear("the body is no object")
    customer_id = own or _name(said, "customerId", "customer_id")
    if customer_id is None:
        raise _Unclear("customerId is missing")
    estimated = said.get("estimatedQuantity", said.get("estimated_quantity"))
    try:
        quantity = decimal_of(0 if estimated is None else estimated)
    except MoneyError as error:
        raise _Unclear(f"estimatedQuantity: {error}") from None
    if quantity < 0:
        raise _Unclear("estimatedQuantity is below 0")
    return customer_id, _name(said, "metricName", "metric_name"), quantity


def _name(said: dict[str, Any], name: str, alias: str) -> str | None:
    value = said.get(name, said.get(alias))
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _NAME_LENGTH_MAX or not value.isprintable():
        raise _Unclear(f"{name} is no name of at most {_NAME_LENGTH_MAX} characters")
    return value


def _number(value: Decimal) -> msgspec.Raw:
    """A decimal as a JSON number with all its digits."""
    return msgspec.Raw(plain(value).encode())
