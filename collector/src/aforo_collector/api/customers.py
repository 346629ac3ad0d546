"""Customers: the catalog's, and those that only usage names: provisional until the catalog has them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from aforo_collector.domain.catalog_edits import CUSTOMERS
from aforo_collector.domain.catalog_file import export
from aforo_collector.service.queries import cursor_of, parts_of

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .desk import AtDesk, Desk, OfTenant
from .managing import row_view

router = APIRouter(prefix="/v1/customers", tags=["customers"])


@router.get("", response_class=Answer)
def customers(
    desk: AtDesk,
    tenant: OfTenant,
    provisional: Annotated[
        bool | None,
        Query(description="Only those that the catalog does not have, or only those that it has."),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """All customers by id. `provisional` ones have used something and are not in the catalog, so nothing is billed."""
    after = "" if cursor is None else parts_of(cursor, 0, text=True)[1]
    known: dict[str, dict[str, Any]] = {}
    if provisional is not True:
        rows = CUSTOMERS.rows(export(desk.catalogs.catalog(tenant.tenant_no)))
        for customer_id in sorted(name for name in rows if name > after)[: limit + 1]:
            known[customer_id] = row_view(CUSTOMERS, customer_id, rows[customer_id])
    if provisional is not False:
        # The text that follows `after` at once is the same with a zero behind it.
        for customer_id in desk.reading.provisional_customers(tenant.tenant_no, f"{after}\0", limit + 1):
            known[customer_id] = _provisional(customer_id)
    shown = sorted(known)[:limit]
    more = cursor_of(shown[-1]) if len(known) > limit else None
    return page({"items": [known[customer_id] for customer_id in shown], "nextCursor": more})


# An id is the tenant's own and may hold slashes, hence `:path`.
@router.get("/{row_id:path}", response_class=Answer)
def customer(desk: AtDesk, tenant: OfTenant, row_id: str) -> Answer:
    """One customer, of the catalog or provisional."""
    return Answer(found(_known(desk, tenant.tenant_no, row_id), f"customer {row_id!r}"))


def _known(desk: Desk, tenant_no: int, customer_id: str) -> dict[str, Any] | None:
    row = CUSTOMERS.rows(export(desk.catalogs.catalog(tenant_no))).get(customer_id)
    if row is not None:
        return row_view(CUSTOMERS, customer_id, row)
    if desk.reading.provisional_customers(tenant_no, customer_id, 1) == [customer_id]:
        return _provisional(customer_id)
    return None


def _provisional(customer_id: str) -> dict[str, Any]:
    return {"id": customer_id, "provisional": True}
