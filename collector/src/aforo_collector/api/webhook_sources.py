"""Sources of webhooks, managed, and tried without a signature."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from aforo_collector.doors.webhooks.provider import Incoming
from aforo_collector.doors.webhooks.terms import InvalidTerms
from aforo_collector.service.repeats import Keep
from aforo_collector.views import Wire

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .bodies import object_in, read_body
from .desk import AtDesk, OfTenant
from .json_bodies import BODY, IdempotencyKey, json_body, once
from .problems import Problem

router = APIRouter(prefix="/v1/webhook-sources", tags=["webhooks"])

BODY_BYTES_MAX = 4 * 1024 * 1024
REPLAYED_MAX = 100
_WHAT = "webhook source of that id"
_ANY: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {}}}}}


@router.post("", response_class=Answer, status_code=201, openapi_extra=BODY)
async def create(
    request: Request, desk: AtDesk, tenant: OfTenant, idempotency_key: IdempotencyKey = None
) -> Answer:
    """Make a source: provider, secret (where the provider gives one), metricName, eventFilter, mappings and more.

    `data.secret` is shown this once; a repetition has it no more. It is null where the provider's own has yet to
    be set by `/rotate`: until then deliveries are answered 401, and kept for a replay.
    """
    body = await json_body(request, desk)
    wanted = object_in(body)

    def do(keep: Keep) -> Wire:
        return desk.webhooks.sources.create(tenant.tenant_no, wanted, keep)

    return await once(request, desk, tenant, idempotency_key, body, do)


@router.get("", response_class=Answer)
def sources(desk: AtDesk, tenant: OfTenant, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT) -> Answer:
    """The sources, oldest first, without their secrets."""
    return page(desk.webhooks.sources.page(tenant.tenant_no, cursor=cursor, limit=limit))


@router.get("/{source_id}", response_class=Answer)
def source(desk: AtDesk, tenant: OfTenant, source_id: str) -> Answer:
    """A source, without its secret."""
    return Answer(found(desk.webhooks.sources.get(tenant.tenant_no, source_id), _WHAT))


@router.patch("/{source_id}", response_class=Answer, openapi_extra=BODY)
async def change(request: Request, desk: AtDesk, tenant: OfTenant, source_id: str) -> Answer:
    """Change what is named; null is the default. The provider stays, the secret is rotated."""
    changes = object_in(await json_body(request, desk))
    changed = await to_thread.run_sync(desk.webhooks.sources.change, tenant.tenant_no, source_id, changes)
    return Answer(found(changed, _WHAT))


@router.delete("/{source_id}", response_class=Answer)
def delete(desk: AtDesk, tenant: OfTenant, source_id: str) -> Answer:
    """Take a source out of use and delete its log; usage that was recorded stays."""
    if not desk.webhooks.sources.delete(tenant.tenant_no, source_id):
        raise Problem(404, "NOT_FOUND", f"there is no {_WHAT}")
    return Answer({"sourceId": source_id, "deleted": True})


@router.post("/{source_id}/rotate", response_class=Answer, openapi_extra=_ANY)
async def rotate(request: Request, desk: AtDesk, tenant: OfTenant, source_id: str) -> Answer:
    """Give a source a new secret (`secret`, or one that is made); the one before holds for `graceS`, a day.

    `data.secret` is shown this once.
    """
    said = object_in(await json_body(request, desk))
    if unknown := said.keys() - {"secret", "graceS"}:
        raise InvalidTerms([(name[:60], "is none of secret, graceS") for name in sorted(unknown)])
    rotated = await to_thread.run_sync(
        desk.webhooks.sources.rotate, tenant.tenant_no, source_id, said.get("secret"), said.get("graceS")
    )
    return Answer(found(rotated, _WHAT))


@router.post("/{source_id}/test", response_class=Answer, openapi_extra=_ANY)
async def test(request: Request, desk: AtDesk, tenant: OfTenant, source_id: str) -> Response:
    """What the body would become if the provider sent it: `data.events` with what each would be recorded as.

    No signature is asked for, and nothing is recorded.
    """
    body = await read_body(request, desk.bodies, min(BODY_BYTES_MAX, desk.settings.body_bytes_max))
    one = found(await to_thread.run_sync(desk.webhooks.sources.find, source_id, tenant.tenant_no), _WHAT)
    incoming = Incoming(dict(request.headers), str(request.url), body)
    future = await to_thread.run_sync(desk.webhooks.tried, one, incoming, time.time_ns())
    return Answer(await asyncio.wrap_future(future))


@router.post("/{source_id}/replay", response_class=Answer)
def replay(
    desk: AtDesk,
    tenant: OfTenant,
    source_id: str,
    cursor: Annotated[int, Query(ge=0, lt=2**63, description="`meta.nextCursor` of the answer before.")] = 0,
    limit: Annotated[
        int, Query(ge=1, le=REPLAYED_MAX, description="Most deliveries to replay.")
    ] = REPLAYED_MAX,
) -> Answer:
    """Replay rejected deliveries of a source, oldest first; repeat with `meta.nextCursor` until it is null."""
    one = found(desk.webhooks.sources.find(source_id, tenant.tenant_no), _WHAT)
    counts, more = desk.webhooks.replay_rejected(one, cursor, limit)
    return Answer(counts, nextCursor=more)
