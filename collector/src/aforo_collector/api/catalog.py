"""The catalog: replaced as a whole, and given back in the shape of its file."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request

from aforo_collector.domain.catalog_file import export

from .answers import Answer
from .bodies import read_body
from .desk import AtDesk, OfTenant
from .problems import Problem

router = APIRouter(prefix="/v1/catalog", tags=["catalog"])

TOML = ("application/toml", "text/toml", "text/x-toml")
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}},
         "application/toml": {"schema": {"type": "string"}}}}}  # fmt: skip


@router.get("", response_class=Answer)
def catalog(desk: AtDesk, tenant: OfTenant) -> Answer:
    """The catalog in force."""
    return Answer(export(desk.catalogs.catalog(tenant.tenant_no)))


@router.put("", response_class=Answer, openapi_extra=_BODY)
async def apply(request: Request, desk: AtDesk, tenant: OfTenant) -> Answer:
    """Replace the catalog; what could not be priced before and can be now is booked.

    `meta.changed` is false when it was in force already, `meta.repriced` counts the costs that became known.
    """
    body = await read_body(request, desk.bodies, desk.settings.body_bytes_max)
    document = _document(body, request.headers.get("content-type", "").partition(";")[0].strip().lower())
    result = await to_thread.run_sync(desk.catalogs.apply, tenant.tenant_no, document)
    return Answer(export(desk.catalogs.catalog(tenant.tenant_no)), **result)


def _document(body: bytes, content_type: str) -> Any:
    """The table in a body; numbers stay decimals."""
    try:
        if content_type in TOML:
            return tomllib.loads(body.decode("utf-8-sig"), parse_float=Decimal)
        if content_type == "application/json":
            return json.loads(body, parse_float=Decimal, parse_constant=str, object_pairs_hook=_table)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise Problem(400, "MALFORMED_BODY", f"{error}; nothing was changed") from None
    detail = f"content type {content_type or 'none'}; send application/json or application/toml"
    raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", detail)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a name that stands there twice is an error, as in TOML, and not the first one's loss."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return table
