"""What the routes work with: one value, made by `app`, carried by the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Query
from starlette.requests import Request

from aforo_collector.service.catalogs import Catalogs
from aforo_collector.service.correcting import Correcting
from aforo_collector.service.reading import Reading
from aforo_collector.service.repeats import Repeats
from aforo_collector.service.uploads import Uploads
from aforo_collector.service.webhooks import Webhooks
from aforo_collector.service.writer import Writer
from aforo_collector.settings import Settings
from aforo_collector.store.figures import Figures

from .access import OPEN, access_of
from .bodies import Bodies
from .credentials import Caller, Credentials, Tenant
from .problems import Problem


@dataclass(frozen=True, slots=True)
class Desk:
    """The use cases behind the routes, and who may use them.

    `unpriced` lists the calls of a tenant number whose cost is unknown.
    `close` closes a session by (tenant number, session id, customer id or None); False when there is none.
    """

    settings: Settings
    credentials: Credentials
    repeats: Repeats
    writer: Writer
    catalogs: Catalogs
    reading: Reading
    uploads: Uploads
    figures: Callable[[], Figures]
    unpriced: Callable[[int], list[dict[str, Any]]]
    close: Callable[[int, str, str | None], bool]
    corrections: Correcting
    webhooks: Webhooks
    bodies: Bodies = field(default_factory=Bodies)


async def desk_of(request: Request) -> Desk:
    """The desk of the application that serves a request."""
    desk: Desk = request.app.state.desk
    return desk


async def admitted(request: Request) -> Caller | None:
    """Who makes a request, if the route may be used without saying so: None. Raises `Problem` 401, 403, 429.

    Stands before every route, so that a route that does not care who asks is guarded, too.
    """
    access = access_of(request.scope["route"].path, request.method)
    if access is OPEN:
        return None
    desk: Desk = request.app.state.desk
    return desk.credentials.caller(request.headers, access)


async def caller_of(caller: Annotated[Caller | None, Depends(admitted)]) -> Caller:
    """Who makes a request to a route that is not open."""
    assert caller is not None, "an open route asks for nobody"
    return caller


async def tenant_of(caller: Annotated[Caller, Depends(caller_of)]) -> Tenant:
    """The tenant of a request."""
    return caller.tenant


async def customer_asked(
    caller: Annotated[Caller, Depends(caller_of)],
    customer_id: Annotated[
        str | None, Query(alias="customerId", description="Only of this customer.")
    ] = None,
) -> str | None:
    """Whose things are asked for; with the credential of a customer always that one's.

    Raises `Problem` 404 for another customer's.
    """
    return caller.customer(customer_id)


async def payer_asked(
    caller: Annotated[Caller, Depends(caller_of)],
    customer_id: Annotated[
        str | None, Query(alias="customerId", min_length=1, description="Who pays; a key may say it, too.")
    ] = None,
) -> str:
    """As `customer_asked`, where there has to be one; raises `Problem` 422."""
    payer = caller.customer(customer_id)
    if payer is None:
        errors = [{"parameter": "customerId", "message": "missing"}]
        raise Problem(422, "INVALID_PARAMETER", "customerId: missing; say who pays", errors=errors)
    return payer


AtDesk = Annotated[Desk, Depends(desk_of)]
OfCaller = Annotated[Caller, Depends(caller_of)]
OfTenant = Annotated[Tenant, Depends(tenant_of)]
CustomerId = Annotated[str | None, Depends(customer_asked)]
Payer = Annotated[str, Depends(payer_asked)]
