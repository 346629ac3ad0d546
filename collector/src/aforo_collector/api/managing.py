"""What a tenant sells and to whom, one thing at a time: edits of the catalog, which stays one document.

Rows are those of the catalog's file, camelCase; either spelling is read. What belongs to a customer has the id
`customer:name`. Whatever an edit would break elsewhere is refused, as it is for the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.catalog_edits import (
    CUSTOMERS,
    NOUNS,
    SUBSCRIPTIONS,
    AlreadyThere,
    Changing,
    Document,
    InvalidRow,
    NotThere,
    Noun,
    Row,
)
from aforo_collector.domain.catalog_file import CatalogError, export
from aforo_collector.domain.credential import Credential
from aforo_collector.service.catalogs import Also
from aforo_collector.service.queries import cursor_of, parts_of
from aforo_collector.service.repeats import Keep

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .bodies import object_in
from .desk import AtDesk, Desk, OfTenant
from .json_bodies import BODY, IdempotencyKey, json_body, once
from .problems import Problem

_UPPER = re.compile(r"(?<=[a-z0-9])([A-Z])")
_UNDERSCORE = re.compile(r"_([a-z])")


def _router(noun: Noun) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{noun.name}", tags=[noun.name.replace("-", " ")])

    @router.post("", response_class=Answer, status_code=201, openapi_extra=BODY)
    async def create(
        request: Request, desk: AtDesk, tenant: OfTenant, idempotency_key: IdempotencyKey = None
    ) -> Answer:
        """Add one; 409 when there is one of its id."""
        body = await json_body(request, desk)
        row = _from_wire(object_in(body))

        def do(keep: Keep) -> Row:
            added: list[str] = []

            def written(catalog: Catalog, now_ns: int) -> None:
                keep(_view(noun, catalog, added[0]), now_ns)

            edited = _edit(desk, tenant.tenant_no, lambda file: added.append(noun.add(file, row)), written)
            return _view(noun, edited, added[0])

        return await once(request, desk, tenant, idempotency_key, body, do)

    if noun is not CUSTOMERS:  # there are more of them than the catalog knows; see `api.customers`
        _reading(router, noun)

    if isinstance(noun, Changing):

        @router.patch("/{row_id:path}", response_class=Answer, openapi_extra=BODY)
        async def change(request: Request, desk: AtDesk, tenant: OfTenant, row_id: str) -> Answer:
            """Replace the fields that are given; null takes one away."""
            changes = _from_wire(object_in(await json_body(request, desk)))

            def do() -> Catalog:
                return _edit(desk, tenant.tenant_no, lambda file: noun.change(file, row_id, changes))

            return Answer(_view(noun, await to_thread.run_sync(do), row_id))

    @router.delete("/{row_id:path}", response_class=Answer)
    def delete(desk: AtDesk, tenant: OfTenant, row_id: str) -> Answer:
        """Take one away; `data` is what it was. The keys of a customer or a subscription end with it."""
        row = _asked(desk, tenant.tenant_no, noun, row_id)

        def held(key: Credential) -> bool:
            return key.tenant_no == tenant.tenant_no and _ends_with(noun, row, key)

        def edit(end_keys: Callable[[], None]) -> None:
            removed = partial(noun.remove, row_id=row_id)
            _edit(desk, tenant.tenant_no, removed, lambda *_: end_keys(), removing=True)

        if noun in (CUSTOMERS, SUBSCRIPTIONS):
            desk.credentials.keyring.ending(held, edit)
        else:
            edit(lambda: None)
        return Answer(row)

    return router


def _reading(router: APIRouter, noun: Noun) -> None:
    @router.get("", response_class=Answer)
    def all_of_them(
        desk: AtDesk, tenant: OfTenant, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
    ) -> Answer:
        """All of them, by id."""
        after = "" if cursor is None else parts_of(cursor, 0, text=True)[1]
        rows = noun.rows(export(desk.catalogs.catalog(tenant.tenant_no)))
        rest = sorted(row_id for row_id in rows if row_id > after)
        items = [row_view(noun, row_id, rows[row_id]) for row_id in rest[:limit]]
        last = cursor_of(rest[limit - 1]) if len(rest) > limit else None
        return page({"items": items, "nextCursor": last})

    # An id is the tenant's own and may hold slashes, hence `:path`.
    @router.get("/{row_id:path}", response_class=Answer)
    def one(desk: AtDesk, tenant: OfTenant, row_id: str) -> Answer:
        """One of them."""
        return Answer(_asked(desk, tenant.tenant_no, noun, row_id))


def _ends_with(noun: Noun, row: Row, key: Credential) -> bool:
    """Whether a key is of the customer, or for the subscription, that is taken away."""
    if noun is CUSTOMERS:
        return key.customer_id == str(row["id"])
    subscribed = (row.get("customerId"), row.get("productType"))
    return noun is SUBSCRIPTIONS and subscribed == (key.customer_id, key.product_type)


def _asked(desk: Desk, tenant_no: int, noun: Noun, row_id: str) -> Row:
    row = noun.rows(export(desk.catalogs.catalog(tenant_no))).get(row_id)
    return row_view(noun, row_id, found(row, f"{noun.name} {row_id!r}"))


def _view(noun: Noun, catalog: Catalog, row_id: str) -> Row:
    return row_view(noun, row_id, noun.rows(export(catalog))[row_id])


def row_view(noun: Noun, row_id: str, row: Row) -> Row:
    """A row of the catalog as it is shown: with its id, camelCase."""
    told = {"provisional": False} if noun is CUSTOMERS else {}
    return {"id": row_id} | _renamed(row, _camel) | told


def _nothing(_catalog: Catalog, _now_ns: int) -> None:
    pass


def _edit(
    desk: Desk,
    tenant_no: int,
    change: Callable[[Document], None],
    also: Also = _nothing,
    *,
    removing: bool = False,
) -> Catalog:
    try:
        return desk.catalogs.edit(tenant_no, change, also)
    except NotThere as error:
        raise Problem(404, "NOT_FOUND", f"there is no {error.args[0]!r}") from None
    except AlreadyThere as error:
        detail = f"there is {error.args[0]!r} already; nothing was changed"
        raise Problem(409, "ALREADY_EXISTS", detail) from None
    except InvalidRow as error:
        errors = [{"parameter": _camel(error.field), "message": error.detail}]
        detail = f"{_camel(error.field)}: {error.detail}; nothing was changed"
        raise Problem(422, "INVALID_BODY", detail, errors=errors) from None
    except CatalogError as error:
        if not removing:
            raise
        raise Problem(
            409, "IN_USE", f"something refers to it: {error.problems[0]}; nothing was changed"
        ) from None


def _from_wire(row: Row) -> Row:
    return _renamed(row, lambda name: _UPPER.sub(lambda match: f"_{match[1].lower()}", name))


def _camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name)


def _renamed(row: Row, rename: Callable[[str], str], levels: int = 3) -> Row:
    """A row under other names, and the rows of its lists; what stands in a table inside of it is the user's own."""

    def value_of(value: Any) -> Any:
        if isinstance(value, list) and levels:
            return [_renamed(item, rename, levels - 1) if isinstance(item, dict) else item for item in value]
        return value

    return {rename(name): value_of(value) for name, value in row.items()}


ROUTERS = tuple(_router(noun) for noun in NOUNS)
