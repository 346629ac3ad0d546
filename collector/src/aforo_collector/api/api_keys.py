"""API keys and clients: made, listed, changed, rotated, revoked. A secret is shown once, when it is made."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Annotated, Any, Literal

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Query
from starlette.requests import Request

from aforo_collector.domain.credential import (
    CLIENT,
    LIVE,
    Credential,
    Status,
    tenant_in,
)
from aforo_collector.domain.key_request import (
    KeyRequest,
    KeyRequestError,
    NotGranted,
    check_rate,
    check_time,
    drafted,
    environment_of,
)
from aforo_collector.service.keyring import OVERLAP_NS, Ended
from aforo_collector.service.queries import cursor_of, parts_of
from aforo_collector.service.repeats import Keep
from aforo_collector.views import EPOCH, Wire, credential_view, instant

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .credentials import Caller
from .desk import AtDesk, Desk, OfCaller
from .json_bodies import IdempotencyKey, described, json_body, once, read_as
from .problems import Problem

router = APIRouter(prefix="/v1/api-keys", tags=["api keys"])


Moment = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339.")]


class NewKey(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a new credential is to be; everything may be left out."""

    name: str = ""
    environment: str = ""
    scopes: tuple[str, ...] | None = None
    customer_id: str = ""
    team_id: str = ""
    accessor_type: str = ""
    accessor_id: str = ""
    product_type: str = ""
    subscription_ids: tuple[str, ...] = ()
    expires_at: Moment | None = None
    rate_limit_per_minute: int | None = None


class KeyChanges(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is to be different; what is left out stays, a rate of null is the collector's again."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    status: Literal["ACTIVE", "SUSPENDED"] | msgspec.UnsetType = msgspec.UNSET
    rate_limit_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET


class Revocation(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """When a credential is to end; now when nothing is said."""

    at: Moment | None = None


@router.post("", response_class=Answer, status_code=201, openapi_extra=described(NewKey))
async def create(
    request: Request, desk: AtDesk, caller: OfCaller, idempotency_key: IdempotencyKey = None
) -> Answer:
    """Make a key. The secret is in this answer and nowhere else; a repetition has it no more."""
    body = await json_body(request, desk)
    asked = read_as(NewKey, body)

    def do(keep: Keep) -> Wire:
        draft = _drafted(desk, caller, asked)
        made, secret = desk.credentials.keyring.add(
            draft, lambda made, now_ns: keep(credential_view(made, 0, now_ns), now_ns)
        )
        return _view(desk, made) | _secret(made, secret)

    return await once(request, desk, caller.tenant, idempotency_key, body, do)


@router.get("", response_class=Answer)
def api_keys(
    desk: AtDesk,
    caller: OfCaller,
    customer_id: Annotated[
        str | None, Query(alias="customerId", description="Only of this customer.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """Keys of the tenant and its test environment, in the order of their making."""
    after = (0, "") if cursor is None else _place(*parts_of(cursor, 1, text=True))
    keys = sorted(
        (key for key in _visible(desk, caller) if customer_id in (None, key.customer_id)),
        key=lambda key: (key.created_ns, key.key_id),
    )
    rest = [key for key in keys if (key.created_ns, key.key_id) > after]
    last = rest[limit - 1] if len(rest) > limit else None
    items = [_view(desk, key) for key in rest[:limit]]
    return page({"items": items, "nextCursor": last and cursor_of(last.created_ns, last.key_id)})


@router.get("/{key_id}", response_class=Answer)
def api_key(desk: AtDesk, caller: OfCaller, key_id: str) -> Answer:
    """One key."""
    return Answer(_view(desk, _asked(desk, caller, key_id)))


@router.patch("/{key_id}", response_class=Answer, openapi_extra=described(KeyChanges))
async def change(request: Request, desk: AtDesk, caller: OfCaller, key_id: str) -> Answer:
    """Rename, suspend or resume a key, or set its own rate limit."""
    changes = read_as(KeyChanges, await json_body(request, desk))
    _may_have(caller, _asked(desk, caller, key_id))

    def changed(credential: Credential) -> Credential:
        if isinstance(changes.name, str):
            credential = replace(credential, name=changes.name)
        if isinstance(changes.status, str):
            credential = replace(credential, status=Status(changes.status))
        if not isinstance(changes.rate_limit_per_minute, msgspec.UnsetType):
            check_rate(changes.rate_limit_per_minute)
            credential = replace(credential, rate_per_minute=changes.rate_limit_per_minute)
        return credential

    return Answer(_view(desk, await _changing(desk.credentials.keyring.change, key_id, changed)))


@router.post("/{key_id}/rotate", response_class=Answer)
async def rotate(desk: AtDesk, caller: OfCaller, key_id: str) -> Answer:
    """Give a key a new secret; the one before works until `previousUntil`."""
    _may_have(caller, _asked(desk, caller, key_id))
    rotated, secret = await _changing(desk.credentials.keyring.rotate, key_id)
    until = instant(time.time_ns() + OVERLAP_NS)
    return Answer(_view(desk, rotated) | _secret(rotated, secret) | {"previousUntil": until})


@router.post("/{key_id}/revoke", response_class=Answer, openapi_extra=described(Revocation))
async def revoke(request: Request, desk: AtDesk, caller: OfCaller, key_id: str) -> Answer:
    """End a key for good, now or at a moment; with it end the tokens that were issued for it."""
    asked = read_as(Revocation, await json_body(request, desk))
    credential = _asked(desk, caller, key_id)
    now_ns = time.time_ns()
    if credential.status_at(now_ns) == Status.REVOKED:
        return Answer(_view(desk, credential))
    at_ns = max(_ns(asked.at), now_ns)
    status = Status.PENDING_REVOCATION if at_ns > now_ns else Status.REVOKED

    def ended(key: Credential) -> Credential:
        check_time("at", at_ns)
        return replace(key, status=status, expires_ns=at_ns)

    return Answer(_view(desk, await _changing(desk.credentials.keyring.change, key_id, ended)))


@router.delete("/{key_id}", response_class=Answer)
def delete(desk: AtDesk, caller: OfCaller, key_id: str) -> Answer:
    """End a key for good and forget it; `data` is what it was."""
    credential = _asked(desk, caller, key_id)
    desk.credentials.keyring.delete(key_id)
    return Answer(_view(desk, replace(credential, status=Status.REVOKED)))


def _drafted(desk: Desk, caller: Caller, asked: NewKey) -> Credential:
    request = KeyRequest(
        asked.name, asked.environment, asked.scopes, asked.customer_id, asked.team_id, asked.accessor_type,
        asked.accessor_id, asked.product_type, asked.subscription_ids, _ns(asked.expires_at),
        asked.rate_limit_per_minute,
    )  # fmt: skip
    by = caller.credential
    try:
        tenant_id = tenant_in(by.owner_id, environment_of(request, by))
        keys = desk.credentials.keyring.of_owner(by.owner_id)
        # A test environment begins with its first key, and with the catalog of the live one.
        tenant_no = next((key.tenant_no for key in keys if key.tenant_id == tenant_id), by.tenant_no)
        catalog = desk.catalogs.catalog(tenant_no)
        return drafted(request, by, catalog, f"key_{token_hex(12)}", time.time_ns())
    except KeyRequestError as error:
        errors = [{"parameter": error.field, "message": error.detail}]
        raise Problem(422, "INVALID_BODY", f"{error}; nothing was made", errors=errors) from None
    except NotGranted as error:
        raise Problem(403, "INSUFFICIENT_SCOPE", f"{error}; nothing was made") from None


async def _changing(change: Any, *arguments: Any) -> Any:
    try:
        return await to_thread.run_sync(change, *arguments)
    except KeyRequestError as error:
        errors = [{"parameter": error.field, "message": error.detail}]
        raise Problem(422, "INVALID_BODY", f"{error}; nothing was changed", errors=errors) from None
    except Ended as error:
        raise Problem(409, "CREDENTIAL_REVOKED", str(error)) from None
    except LookupError:
        raise Problem(404, "NOT_FOUND", "the key was deleted meanwhile") from None


def _visible(desk: Desk, caller: Caller) -> list[Credential]:
    """The keys that a caller may know of: a live one those of its tenant, a test one the test keys."""
    by = caller.credential
    keys = desk.credentials.keyring.of_owner(by.owner_id)
    return [key for key in keys if by.environment in (LIVE, key.environment)]


def _asked(desk: Desk, caller: Caller, key_id: str) -> Credential:
    key = desk.credentials.keyring.of_id(key_id)
    by = caller.credential
    if key is not None and (key.owner_id != by.owner_id or by.environment not in (LIVE, key.environment)):
        key = None
    credential: Credential = found(key, f"key {key_id!r}")
    return credential


def _may_have(caller: Caller, key: Credential) -> None:
    """A secret of a key that may do more than the caller would be a way to do it; so would resuming one."""
    if not caller.credential.allows_all(key.scopes):
        raise Problem(
            403, "INSUFFICIENT_SCOPE", "the key may do more than the one that asks; nothing was changed"
        )


def _view(desk: Desk, credential: Credential) -> Wire:
    used_ns = desk.credentials.keyring.used_ns(credential.key_id)
    return credential_view(credential, used_ns, time.time_ns())


def _secret(credential: Credential, secret: str) -> Wire:
    if credential.kind == CLIENT:
        return {"clientId": credential.key_id, "clientSecret": secret}
    return {"secret": secret}


def _ns(at: datetime | None) -> int:
    return 0 if at is None else (at - EPOCH) // timedelta(microseconds=1) * 1000


def _place(numbers: list[int], text: str) -> tuple[int, str]:
    return numbers[0], text
